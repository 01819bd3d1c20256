import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { restoreInstance, type RestoredInstance } from '../model/restore-instance.ts'
import { findBackup, listBackups, type BackupView } from './backups.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { formatTable, type Terminal } from './terminal.ts'

interface RestoreOptions {
  list?: true
  subnet?: string
  json?: true
}

/** `hearth restore [INSTANCE]`. */
export function addRestore(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'restore', 'undo a termination: bring an instance back, stopped; or list what can be', [
    'hearth restore', 'hearth restore i-0123456789abcdef0', 'hearth restore web --subnet subnet-0123456789abcdef0',
  ])
  command
    .argument('[instance]', 'its id, or its Name tag')
    .option('--list', 'list what can be restored; the same as without an instance')
    .option('--subnet <id>', 'where it is to be, when its own subnet is gone')
    .option('--json', 'print it as JSON')
  withSettings(command).action(async (wanted?: string) => {
    const settings = settingsOf(command)
    const { list, subnet: subnetId, json } = command.opts<RestoreOptions>()
    if (list && wanted !== undefined) throw new Error('--list lists all that can be restored; name an instance, or list them')
    if (wanted === undefined) {
      const backups = await withStore(settings, listBackups)
      terminal.out(json ? JSON.stringify(backups, null, 2) : formatBackups(backups))
      return
    }
    const restored = await withStore(settings, async (store) => {
      const instanceId = findBackup(await listBackups(store), wanted)
      return store.transaction('instance.restore', (db) =>
        restoreInstance({ db, random: systemRandom, nowMs: systemClock.now() }, instanceId, { subnetId }))
    })
    terminal.out(json ? JSON.stringify(restored, null, 2) : formatRestored(restored))
  })
}

/** The list as a person reads it. */
export function formatBackups(backups: readonly BackupView[]): string {
  if (backups.length === 0) return 'nothing to restore; hearth retention --help says what is kept when it is terminated'
  return formatTable([
    ['INSTANCE', 'NAME', 'TYPE', 'PRIVATE', 'ACCOUNT', 'TERMINATED', 'UNTIL', 'BUT'],
    ...backups.map((each) => [
      each.instanceId, each.name ?? '-', each.type, each.privateIp ?? '-', each.account,
      minute(each.terminated), minute(each.until), each.obstacle ?? (each.missingVolumeIds.length === 0 ? '-' : `without ${each.missingVolumeIds.join(', ')}`),
    ]),
  ])
}

function formatRestored({ instanceId, state, isRestored, privateIp, notices }: RestoredInstance): string {
  if (!isRestored) return `${instanceId} is there already, ${state}: nothing to restore`
  return [
    `${instanceId} is back, ${state}, at ${privateIp}`,
    ...notices.map((notice) => `note  ${notice}`),
    `aws ec2 start-instances --instance-ids ${instanceId}`,
  ].join('\n')
}

/** 2026-01-01 12:34 */
function minute(iso: string): string {
  return iso.slice(0, 16).replace('T', ' ')
}
