import type { Command } from 'commander'
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Settings } from '../settings.ts'
import { isHome, isOurs, newCommand, settingsOf, withSettings } from './command.ts'
import { down } from './down.ts'
import type { Terminal } from './terminal.ts'
import { lockHome } from './up-record.ts'

/** `hearth reset`: down, and then nothing of the home is left. */
export function addReset(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'reset', 'stop everything, then delete the home: machines, disks, keys, all of it', [
    'hearth reset', 'hearth reset --yes --home /tmp/trial',
  ])
  withSettings(command.option('--yes', 'do not ask')).action(() =>
    reset(settingsOf(command), command.opts().yes === true, terminal))
}

async function reset(settings: Settings, isSure: boolean, terminal: Terminal): Promise<void> {
  const { home } = settings
  if (!existsSync(home)) return terminal.say(`there is no ${home}; nothing to do`)
  if (!isHome(home)) throw new Error(`${home} does not look like a home of Hearth, so nothing was deleted`)
  if (!isSure && !(await confirm(home))) throw new Error('nothing was deleted')
  await down(settings, terminal)
  const unlock = lockHome(home)
  if (!unlock) throw new Error(`a new hearth up runs for ${home}, so nothing was deleted; try again`)
  const { deleted, left } = splitContent(readdirSync(home))
  for (const name of deleted) rmSync(path.join(home, name), { recursive: true, force: true })
  unlock()
  if (left.length === 0) rmdirSync(home)
  const others = left.length === 0 ? '' : `, but for what is not Hearth's: ${left.join(', ')}`
  terminal.say(`deleted ${home}${others}`)
}

/** Which of the names in a home are Hearth's. */
export function splitContent(names: readonly string[]): { deleted: string[]; left: string[] } {
  return { deleted: names.filter(isOurs), left: names.filter((name) => !isOurs(name)) }
}

async function confirm(home: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new Error('there is nobody to ask here; say --yes to delete everything')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await lines.question(`Delete every machine, disk and key in ${home}? [y/N] `)).trim())
  } finally {
    lines.close()
  }
}
