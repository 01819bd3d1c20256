import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import type { Settings } from '../settings.ts'
import { newCommand, cloudSettingsOf, withSettings } from './command.ts'
import { diagnose, type Check } from './doctor-checks.ts'
import type { Terminal } from './terminal.ts'

/** `hearth doctor`: what works on this host, what does not, each with its remedy. */
export function addDoctor(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'doctor', 'say what works on this host, what does not, and what to do about it', [
    'hearth doctor', 'hearth doctor --probe', 'hearth doctor --engine sim --json',
  ])
  command.option('--probe', 'boot a guest again to find out about acceleration').option('--json', 'print it as JSON')
  withSettings(command).action(async () => {
    const settings: Settings = cloudSettingsOf(command)
    const checks = await diagnose(settings, { clock: systemClock, forceProbe: command.opts().probe === true })
    terminal.out(command.opts().json ? JSON.stringify(checks, null, 2) : formatChecks(checks))
    process.exitCode = checks.some((each) => each.status === 'missing') ? 1 : 0
  })
}

const MARKS = { ok: 'ok', warning: 'warn', missing: 'MISSING' } as const

/** The checks as a person reads them, remedies indented below. */
export function formatChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map((each) => each.name.length))
  const lines = checks.flatMap(({ name, status, detail, remedy }) => [
    `${MARKS[status].padEnd(8)}${name.padEnd(width)}  ${detail}`,
    ...(remedy === undefined ? [] : [`${' '.repeat(10 + width)}-> ${remedy}`]),
  ])
  const missing = checks.filter((each) => each.status === 'missing').length
  const those = missing === 1 ? 'that is' : `those ${missing} are`
  const verdict = missing === 0 ? 'hearth up can run here' : `hearth up cannot run here before ${those} mended`
  return [...lines, '', verdict].join('\n')
}
