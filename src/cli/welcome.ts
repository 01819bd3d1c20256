import { waitFor, systemClock } from '../core/clock.ts'
import { readCredentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import type { Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import { createApiClient } from './api-client.ts'
import { hearthCommand, shellWord, withStore } from './command.ts'
import { firstInstanceOf, launchFirstInstance } from './first-instance.ts'
import { listInstances, type InstanceView } from './instances.ts'
import { greetsWithSsh, ownKeyOf } from './ssh-command.ts'
import { withProgress, type Terminal } from './terminal.ts'
import { endpointOf } from './up-record.ts'
import { zoneTrouble } from './zone-trouble.ts'

const SSH_TIMEOUT_MS = 300_000

/**
 * Launches the first instance of a new home, waits until one can log in, and tells a person how to
 * go on. Stops waiting when `ending` aborts.
 */
export async function welcome(settings: Settings, terminal: Terminal, ending: AbortSignal): Promise<void> {
  await withStore(settings, async (store) => {
    const instance = await firstInstance(settings, store, terminal)
    if (ending.aborted) return
    const trouble = instance && (await zoneTrouble(store, settings, instance))
    if (trouble !== undefined) {
      terminal.say(`\n${trouble}`)
    } else if (instance?.state === 'running') {
      if (settings.engine === 'qemu') await waitForSsh(instance, terminal, ending)
      for (const line of instanceLines(settings, instance)) terminal.say(line)
    } else if (instance?.state === 'stopped') {
      terminal.say(`\n${instance.instanceId} is stopped; start it: aws ec2 start-instances --instance-ids ${instance.instanceId}`)
    }
    for (const line of clientLines(settings)) terminal.say(line)
  })
}

async function firstInstance(settings: Settings, store: Store, terminal: Terminal): Promise<InstanceView | undefined> {
  const known = await firstInstanceOf(store)
  const instanceId = known ?? (settings.firstInstance ? await launch(settings, store, terminal) : undefined)
  return (await listInstances(store)).find((each) => each.instanceId === instanceId)
}

async function launch(settings: Settings, store: Store, terminal: Terminal): Promise<string> {
  const credentials = await readCredentials(homePaths(settings.home).credentials)
  if (!credentials) throw new Error(`${homePaths(settings.home).credentials} is gone; end hearth and start it again`)
  const api = createApiClient(endpointOf(settings), { credentials, region: settings.region, clock: systemClock })
  return launchFirstInstance({ api, store, clock: systemClock, home: settings.home, terminal })
}

async function waitForSsh(instance: InstanceView, terminal: Terminal, ending: AbortSignal): Promise<void> {
  const address = instance.publicIp
  if (address === null) return
  await withProgress(systemClock, terminal, `${instance.instanceId} boots`, () =>
    waitFor(systemClock, `SSH at ${address} (see hearth console ${instance.instanceId})`, SSH_TIMEOUT_MS, async () =>
      ending.aborted || greetsWithSsh(systemClock, address), 250))
}

/** How to get into an instance. */
function instanceLines(settings: Settings, instance: InstanceView): string[] {
  const running = `${instance.instanceId}${instance.name ? ` ("${instance.name}")` : ''} runs`
  if (settings.engine === 'sim') return ['', `${running}, simulated: there is nothing to log in to.`]
  const key = ownKeyOf(settings.home, instance)
  const login = `${instance.sshUser ?? 'root'}@${instance.publicIp ?? ''}`
  return [
    '', `${running}. Open a shell there:`, '',
    `  ssh ${key ? `-i ${shellWord(key)} ` : ''}${login}`,
    `  ${hearthCommand(`ssh ${instance.name ?? instance.instanceId}`, settings)}`,
  ]
}

/** How to point the AWS CLI and SDKs at this cloud. */
function clientLines(settings: Settings): string[] {
  return [
    '', 'Point the AWS CLI, SDKs and Terraform at this cloud:', '',
    `  eval "$(${hearthCommand('env', settings)})"`,
    '  aws ec2 describe-instances', '',
    `AWS CLI before 2.13 does not know AWS_ENDPOINT_URL: aws --endpoint-url ${endpointOf(settings)} ec2 describe-instances`, '',
  ]
}
