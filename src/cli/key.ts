import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { DEFAULT_NAME, withAccountStore } from './accounts.ts'
import { newCommand, settingsOf, withSettings } from './command.ts'
import { createKey, listKeys } from './keys.ts'
import { formatTable, type Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'

/** `hearth key create|list`. */
export function addKey(program: Command, terminal: Terminal): void {
  const key = newCommand(program, 'key', 'make keys to encrypt volumes and snapshots under, or list them', [
    'hearth key create web', 'aws ec2 create-volume --encrypted --kms-key-id alias/web …', 'hearth key list',
  ])
  const create = newCommand(key, 'create', 'make a key; EC2 calls know it as alias/NAME, by its id or by its ARN', [
    'hearth key create web', 'hearth key create web --account team-b',
  ])
  create.argument('<name>', 'what comes after alias/')
  withSettings(withAccount(create)).action(async (name: string) => {
    const settings = settingsOf(create)
    const ambient = { clock: systemClock, random: systemRandom, region: settingsInForce(settings).region }
    const made = await withAccountStore(settings, accountOf(create), (store) => createKey(store, ambient, accountOf(create), name))
    const view = { keyId: made.keyId, arn: made.arn, alias: made.alias }
    terminal.out(create.opts().json ? JSON.stringify(view, null, 2) : made.arn)
  })
  const list = newCommand(key, 'list', 'list the keys of an account', ['hearth key list', 'hearth key list --account team-b --json'])
  withSettings(withAccount(list)).action(async () => {
    const settings = settingsOf(list)
    const keys = (await withAccountStore(settings, accountOf(list), (store) => listKeys(store, settingsInForce(settings).region, accountOf(list))))
      .map(({ createdMs, ...each }) => ({ ...each, created: new Date(createdMs).toISOString() }))
    const rows = keys.map((each) => [each.alias, each.keyId, each.created])
    terminal.out(list.opts().json ? JSON.stringify(keys, null, 2) : formatTable([['ALIAS', 'KEY', 'CREATED'], ...rows]))
  })
}

function withAccount(command: Command): Command {
  return command
    .option('--account <name>', 'whose key, of the accounts that hearth account list has', DEFAULT_NAME)
    .option('--json', 'print it as JSON')
}

function accountOf(command: Command): string {
  return command.opts<{ account: string }>().account
}
