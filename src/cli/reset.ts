import type { Command } from 'commander'
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import { readHostId } from '../home.ts'
import { deleteStore, hasStore } from '../main.ts'
import { describeDatabase, type Settings } from '../settings.ts'
import { isHome, isOurs, newCommand, wholeCloudSettingsOf, withSettings, withStore } from './command.ts'
import { down } from './down.ts'
import { leftRegions } from './left-regions.ts'
import { realmsOf, type Realm } from '../realm.ts'
import type { Terminal } from './terminal.ts'
import { lockHome, settingsInForce } from './up-record.ts'

/** `hearth reset`: down, and then nothing of the home is left. */
export function addReset(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'reset', 'stop everything, then delete the home: machines, disks, keys, all of it', [
    'hearth reset', 'hearth reset --yes --home /tmp/trial',
  ])
  withSettings(command.option('--yes', 'do not ask')).action(() =>
    reset(wholeCloudSettingsOf(command), command.opts().yes === true, terminal))
}

async function reset(asked: Settings, isSure: boolean, terminal: Terminal): Promise<void> {
  const { home } = asked
  if (!existsSync(home)) return terminal.say(`there is no ${home}; nothing to do`)
  if (!isHome(home)) throw new Error(`${home} does not look like a home of Hearth, so nothing was deleted`)
  const settings = settingsInForce(asked)
  const realms = [...realmsOf(settings), ...leftRegions(settings)]
  for (const realm of realms) await checkAlone(realm)
  if (!isSure && !(await confirm(settings))) throw new Error('nothing was deleted')
  await down(settings, terminal)
  const unlock = lockHome(home)
  if (!unlock) throw new Error(`a new hearth up runs for ${home}, so nothing was deleted; try again`)
  // Rows before files: the home knows where the rows are, so that a reset that was cut short can be repeated.
  for (const realm of realms) await deleteStore(realm)
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

/** @throws Error where other hosts have their machines in the same database, whose rows would go with it. */
async function checkAlone(settings: Realm): Promise<void> {
  if (settings.database === null || !hasStore(settings)) return
  const own = await readHostId(settings.home) ?? ''
  const others = await withStore(settings, (store) => store.read((db) =>
    db.selectFrom('hosts').select('host_id').where('node_id', '!=', own).orderBy('host_id').execute()))
  if (others.length === 0) return
  const ids = others.map((each) => each.host_id).join(', ')
  throw new Error(`${describeDatabase(settings)} is also that of other hosts (${ids}), so nothing was deleted`)
}

async function confirm(settings: Settings): Promise<boolean> {
  if (!process.stdin.isTTY) throw new Error('there is nobody to ask here; say --yes to delete everything')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const rows = settings.database === null ? '' : `, and its rows in ${describeDatabase(settings)}`
    return /^y(es)?$/i.test((await lines.question(`Delete every machine, disk and key in ${settings.home}${rows}? [y/N] `)).trim())
  } finally {
    lines.close()
  }
}
