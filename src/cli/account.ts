import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { zonesOf } from '../model/zone.ts'
import { systemRandom } from '../core/random.ts'
import { ensureHome } from '../home.ts'
import { openStore } from '../main.ts'
import type { Settings } from '../settings.ts'
import { createAccount, listAccounts } from './accounts.ts'
import { checkHomeFolder, hearthCommand, newCommand, cloudSettingsOf, withSettings, withStore } from './command.ts'
import { formatTable, type Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'
import type { Credentials } from '../credentials.ts'

/** `hearth account create|list`. */
export function addAccount(program: Command, terminal: Terminal): void {
  const account = newCommand(program, 'account', 'make further accounts, to share images and snapshots with, or list them', [
    'hearth account create team-b', 'eval "$(hearth env --account team-b)"', 'hearth account list',
  ])
  const create = newCommand(account, 'create', 'make an account with its own default VPC and access key', [
    'hearth account create team-b', 'hearth account create team-b --json',
  ])
  create.argument('<name>', 'what to call it here; EC2 knows it by a number').option('--json', 'print it as JSON')
  withSettings(create).action(async (name: string) => {
    const settings = cloudSettingsOf(create)
    const made = await createHere(settings, name)
    if (settingsInForce(settings).auth === 'permissive') {
      terminal.say('warning: this cloud takes every key for the account "default" (--auth permissive); it tells accounts apart in strict mode')
    }
    terminal.out(create.opts().json ? JSON.stringify({ name, ...made }, null, 2) : formatAccount(settings, name, made))
  })
  const list = newCommand(account, 'list', 'list the accounts of this cloud', ['hearth account list', 'hearth account list --json'])
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const accounts = (await withStore(cloudSettingsOf(list), listAccounts))
      .map(({ createdMs, ...each }) => ({ ...each, created: new Date(createdMs).toISOString() }))
    const rows = accounts.map((each) => [each.accountId, each.name, each.created])
    terminal.out(list.opts().json ? JSON.stringify(accounts, null, 2) : formatTable([['ACCOUNT', 'NAME', 'CREATED'], ...rows]))
  })
}

/** In the cloud as it is, up or down, or in one that is to be. */
async function createHere(settings: Settings, name: string): Promise<Credentials> {
  checkHomeFolder(settings.home)
  await ensureHome(settings.home)
  const store = await openStore(settings)
  try {
    return await createAccount(store, { clock: systemClock, random: systemRandom, zones: zonesOf(settingsInForce(settings)) }, settings.home, name)
  } finally {
    await store.close()
  }
}

function formatAccount(settings: Settings, name: string, { accountId, accessKeyId, secretAccessKey }: Credentials): string {
  return [
    `account            ${accountId} (${name})`,
    `access key id      ${accessKeyId}`,
    `secret access key  ${secretAccessKey}`,
    `eval "$(${hearthCommand(`env --account ${name}`, settings)})"`,
  ].join('\n')
}
