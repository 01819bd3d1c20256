import type { Command } from 'commander'
import { systemClock, waitFor, type Clock } from '../core/clock.ts'
import { steadyProgress } from '../images/steady-progress.ts'
import type { Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import type { ApiClient } from './api-client.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { listAmis, type AmiView } from './images.ts'
import { findInstance, listInstances, type InstanceView } from './instances.ts'
import { openRunningCloud } from './running-cloud.ts'
import type { Terminal } from './terminal.ts'
import { textOf } from './xml.ts'
import { requireZone, whyItWaits } from './zone-trouble.ts'

interface BakeFlags {
  name: string
  description?: string
  reboot?: boolean
  json?: boolean
}

/** A reboot takes minutes at the worst, and disks that are copied for longer chains take what they take. */
const BAKE_TIMEOUT_MS = 60 * 60 * 1000
const LOOK_MS = 200

/** `hearth image bake`: CreateImage, waited for. */
export function addImageBake(image: Command, terminal: Terminal): void {
  const command = newCommand(image, 'bake', 'make an AMI of an instance and its disks as they are now', [
    'hearth image bake first --name web-1', 'hearth image bake i-0123 --name "web 2" --reboot',
  ])
  command
    .argument('<instance>', 'its id, the beginning of its id, or its Name')
    .requiredOption('--name <name>', 'name of the AMI')
    .option('--description <text>', 'description of the AMI')
    .option('--reboot', 'take the moment when the guest is down for a reboot, instead of freezing its file systems')
    .option('--json', 'print what was made as JSON')
  withSettings(command).action(async (wanted: string) => {
    const flags = command.opts<BakeFlags>()
    const ami = await bake(settingsOf(command), wanted, flags, terminal)
    terminal.out(flags.json ? JSON.stringify(ami, null, 2) : ami.imageId)
  })
}

async function bake(asked: Settings, wanted: string, flags: BakeFlags, terminal: Terminal): Promise<AmiView> {
  const { settings, api } = await openRunningCloud(asked)
  return withStore(settings, async (store) => {
    const instance = findInstance(await listInstances(store), wanted)
    await requireZone(store, settings, instance)
    return bakeImage({ api, store, clock: systemClock, say: terminal.say, settings }, instance, flags)
  })
}

interface Bakery {
  api: ApiClient
  store: Store
  clock: Clock
  say: (line: string) => void
  settings: Parameters<typeof requireZone>[1]
}

/**
 * Asks for the image and waits until it is available.
 *
 * @throws Error with why it has failed, or that the instance's zone has and the image waits for that; ApiError.
 */
export async function bakeImage(
  { api, store, clock, say, settings }: Bakery,
  instance: Pick<InstanceView, 'instanceId' | 'state' | 'zone'>,
  flags: Pick<BakeFlags, 'name' | 'description' | 'reboot'>,
): Promise<AmiView> {
  const progress = steadyProgress(clock, say)
  try {
    progress.say(beginning(instance, flags.reboot === true))
    const answer = await api.call('CreateImage', {
      InstanceId: instance.instanceId, Name: flags.name, NoReboot: String(flags.reboot !== true),
      ...(flags.description === undefined ? {} : { Description: flags.description }),
    })
    const imageId = textOf(answer, 'imageId')
    let told = ''
    return await waitFor(clock, `${imageId} to be available`, BAKE_TIMEOUT_MS, async () => {
      const ami = (await listAmis(store)).find((each) => each.imageId === imageId)
      if (!ami) throw new Error(`${imageId} is gone`)
      if (ami.state === 'failed') throw new Error(`${imageId} has failed: ${ami.reason ?? 'no reason is known'}`)
      const line = ami.state === 'pending' ? `${imageId} is pending: ${ami.percent} %` : `${imageId} is ${ami.state}`
      if (line !== told) progress.say(line)
      told = line
      const trouble = ami.state === 'pending' ? await whyItWaits(line, store, settings, instance) : undefined
      if (trouble !== undefined) throw new Error(trouble)
      return ami.state !== 'pending' && ami
    }, LOOK_MS)
  } finally {
    progress.end()
  }
}

function beginning({ instanceId, state }: Pick<InstanceView, 'instanceId' | 'state'>, reboots: boolean): string {
  if (state !== 'running') return `baking ${instanceId}, which is ${state}`
  return reboots ? `baking ${instanceId} while it reboots` : `baking ${instanceId}, which runs on`
}
