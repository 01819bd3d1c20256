import type { Command } from 'commander'
import { systemClock, waitFor, type Clock } from '../core/clock.ts'
import { ApiError, messageOf } from '../core/errors.ts'
import { systemRandom, type Random } from '../core/random.ts'
import { zonesOf } from '../model/zone.ts'
import type { AnySettings } from '../realm.ts'
import type { Store } from '../store/store.ts'
import type { ApiClient } from './api-client.ts'
import { againWith, loadSource, planClones, type CloneOrder, type ZoneLaunch } from './clone-plan.ts'
import { hearthCommand, newCommand, settingsOfZone, withSettings, withStore } from './command.ts'
import { bakeImage } from './image-bake.ts'
import { listAmis } from './images.ts'
import { instanceStateOf } from './instance-state.ts'
import { findInstance, listInstances, type InstanceView } from './instances.ts'
import { openRunningCloud } from './running-cloud.ts'
import { formatTable, withProgress, type Terminal } from './terminal.ts'
import { textsOf } from './xml.ts'
import { requireZone, whyItWaits } from './zone-trouble.ts'

interface CloneFlags extends Omit<CloneOrder, 'count'> {
  count: string
  reboot?: boolean
  keepImage?: boolean
  json?: boolean
}

/** A clone that runs. */
export interface CloneView {
  zone: string
  instanceId: string
  name: string
  privateIp: string | null
  publicIp: string | null
}

/** What `--json` prints. */
export interface Cloned {
  source: string
  /** What the clones were launched from, which is gone unless it was to be kept. */
  imageId: string
  isImageKept: boolean
  clones: CloneView[]
  /** Single clones that did not come up, or all of a zone, and why; `isToCome` of those that will when their zone is healed. */
  failures: { zone: string; instanceId: string | null; reason: string; isToCome?: true }[]
}

interface Ambient {
  api: ApiClient
  store: Store
  clock: Clock
  random: Random
  terminal: Terminal
}

type CloneSettings = Pick<AnySettings, 'region' | 'zones' | 'home' | 'cloudHome'>

/** Emulated guests take minutes. */
const RUNNING_TIMEOUT_MS = 15 * 60 * 1000
const LOOK_MS = 200
/** How often a launch is asked for where the API does not answer: it may be restarting. */
const LAUNCH_ATTEMPTS = 3
const ATTEMPT_PAUSE_MS = 1000

/** `hearth clone`: CreateImage of an instance that runs on, and launches of that in several zones. */
export function addClone(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'clone', 'launch copies of an instance, with its disks as they are now, in several zones', [
    'hearth clone web --zone a,b,c', 'hearth clone i-0123 --zone us-east-1b --count 2 --type m5.large --json',
  ])
  command
    .argument('<instance>', 'its id, the beginning of its id, or its Name')
    .requiredOption('--zone <zones>', 'where: letters or names of zones, with commas between them')
    .option('--count <number>', 'how many in each zone', '1')
    .option('--type <type>', 'type of the clones (default: the instance\'s)')
    .option('--name <name>', 'what their names begin with (default: its own name and "-clone")')
    .option('--key <name>', 'key pair of the clones (default: the instance\'s)')
    .option('--user-data', 'give them its user-data too, which then runs once more, on disks where it has run already')
    .option('--reboot', 'take the moment when the guest is down for a reboot, instead of freezing its file systems')
    .option('--keep-image', 'keep the AMI that they are launched from')
    .option('--json', 'print what was made as JSON')
  withSettings(command).action(async (wanted: string) => {
    const flags = command.opts<CloneFlags>()
    const { settings, api } = await openRunningCloud(settingsOfZone(command, flags.zone.split(',')[0]?.trim() || 'a'))
    const cloned = await withStore(settings, async (store) => {
      const instance = findInstance(await listInstances(store), wanted)
      await requireZone(store, settings, instance)
      return cloneInstance({ api, store, clock: systemClock, random: systemRandom, terminal }, settings, instance, flags)
    })
    if (flags.json) terminal.out(JSON.stringify(cloned, null, 2))
    else if (cloned.clones.length > 0) terminal.out(formatClones(cloned.clones))
    if (cloned.failures.length > 0) throw new Error(failureOf(cloned, settings, flags))
  })
}

/**
 * Bakes an image, launches it in every zone at once, waits for the clones and removes the image. A zone where that fails
 * does not keep the others from coming up.
 *
 * @throws Error where there is nothing to launch into, before anything is made, or where the image fails; ApiError.
 */
export async function cloneInstance(
  ambient: Ambient,
  settings: CloneSettings,
  instance: InstanceView,
  flags: CloneFlags,
): Promise<Cloned> {
  const { store, clock, terminal } = ambient
  const id = instance.instanceId
  const launches = planClones(
    await loadSource(store, id), { ...flags, count: Number(flags.count) }, { region: settings.region, zones: zonesOf(settings) })
  const imageId = await bakeFor({ ...ambient, settings }, instance, flags)
  const cloned: Cloned = { source: id, imageId, isImageKept: flags.keepImage === true, clones: [], failures: [] }
  try {
    const results = await Promise.all(launches.map((launch) => launchIn(ambient, imageId, launch)))
    const came = await withProgress(clock, terminal, 'waiting for the clones to run', () =>
      Promise.all(results.flatMap((result) => result.clones).map((clone) => untilRunning(ambient, settings, clone))))
    cloned.failures.push(...results.flatMap((result) => result.failures), ...came.flatMap((each) => ('reason' in each ? each : [])))
    cloned.clones.push(...await withAddresses(store, came.flatMap((each) => ('reason' in each ? [] : each))))
  } finally {
    if (!cloned.isImageKept) cloned.isImageKept = !(await removeImage(ambient, imageId))
  }
  return cloned
}

type Failure = Cloned['failures'][number]
type Started = Pick<CloneView, 'zone' | 'instanceId' | 'name'>

/** The image that clones are launched from. One that does not become available is not left behind. */
async function bakeFor(
  { api, store, clock, random, terminal, settings }: Ambient & { settings: CloneSettings },
  instance: InstanceView,
  { reboot }: CloneFlags,
): Promise<string> {
  const id = instance.instanceId
  const name = `clone-of-${id}-${random.bytes(4).toString('hex')}`
  try {
    const { imageId } = await bakeImage({ api, store, clock, say: terminal.say, settings }, instance, {
      name, description: `For clones of ${id}`, ...(reboot ? { reboot } : {}),
    })
    return imageId
  } catch (error) {
    // By its name: an answer that was lost told no id.
    for (const ami of await listAmis(store)) {
      if (ami.name === name) await removeImage({ api, terminal }, ami.imageId)
    }
    throw error
  }
}

/** Launches the clones of one zone; they are all there, or none is. */
async function launchIn(
  ambient: Ambient,
  imageId: string,
  { zone, names, parameters }: ZoneLaunch,
): Promise<{ clones: Started[]; failures: Failure[] }> {
  let clones: Started[]
  try {
    const ids = textsOf(await runInstances(ambient, { ImageId: imageId, ...parameters }), 'instanceId')
    clones = ids.map((instanceId, index) => ({ zone, instanceId, name: names[index] ?? '' }))
  } catch (error) {
    return { clones: [], failures: [{ zone, instanceId: null, reason: messageOf(error) }] }
  }
  await nameApart(ambient, clones)
  ambient.terminal.say(`launched ${clones.map((clone) => `${clone.instanceId} (${clone.name})`).join(', ')} in ${zone}`)
  return { clones, failures: [] }
}

/**
 * RunInstances, asked again where no answer came: it may have launched them, and answers those then, which the token sees to.
 *
 * @throws ApiError, or Error where the API never answered.
 */
async function runInstances({ api, clock, random }: Ambient, parameters: Record<string, string>): Promise<string> {
  const ClientToken = `clone-${random.bytes(16).toString('hex')}`
  for (let attempt = 1; ; attempt++) {
    try {
      return await api.call('RunInstances', { ...parameters, ClientToken })
    } catch (error) {
      if (error instanceof ApiError) throw error
      if (attempt === LAUNCH_ATTEMPTS) {
        throw new Error(`${messageOf(error)}; whether it launched them is not known: see hearth status`, { cause: error })
      }
      await clock.sleep(ATTEMPT_PAUSE_MS)
    }
  }
}

/** All of one call have the name of the first; without one of its own a clone is there all the same. */
async function nameApart({ api, terminal }: Ambient, clones: Started[]): Promise<void> {
  const [first, ...others] = clones
  for (const clone of others) {
    try {
      await api.call('CreateTags', { 'ResourceId.1': clone.instanceId, 'Tag.1.Key': 'Name', 'Tag.1.Value': clone.name })
    } catch (error) {
      terminal.say(`${clone.instanceId} could not be named ${clone.name}, and is called ${first?.name}: ${messageOf(error)}`)
      clone.name = first?.name ?? ''
    }
  }
}

/** Until it runs, or its zone fails, which nobody may heal. */
async function untilRunning({ api, store, clock }: Ambient, settings: CloneSettings, clone: Started): Promise<Started | Failure> {
  const { zone, instanceId } = clone
  try {
    return await waitFor(clock, `${instanceId} to run`, RUNNING_TIMEOUT_MS, async () => {
      const looked = await lookAt(api, instanceId)
      if (looked === null) return false
      const { state, reason } = looked
      if (state !== 'pending' && state !== 'running') throw new Error(`it is ${state}: ${reason ?? 'no reason is known'}`)
      if (state === 'running') return clone
      const why = await whyItWaits('it is pending', store, settings, clone)
      return why !== undefined && { zone, instanceId, reason: why, isToCome: true as const }
    }, LOOK_MS)
  } catch (error) {
    return { zone, instanceId, reason: messageOf(error) }
  }
}

/** The state of an instance; null where the API did not answer, which says nothing about the instance. */
async function lookAt(api: ApiClient, instanceId: string): Promise<Awaited<ReturnType<typeof instanceStateOf>> | null> {
  try {
    return await instanceStateOf(api, instanceId)
  } catch (error) {
    if (error instanceof ApiError) throw error
    return null
  }
}

async function withAddresses(store: Store, clones: readonly Started[]): Promise<CloneView[]> {
  const views = new Map((await listInstances(store)).map((each) => [each.instanceId, each]))
  return clones.map((clone) => {
    const { privateIp = null, publicIp = null } = views.get(clone.instanceId) ?? {}
    return { ...clone, privateIp, publicIp }
  })
}

/**
 * Removes an image; the clones' disks stand on what is under it, which stays for as long as they do.
 *
 * @returns whether it is gone.
 */
async function removeImage({ api, terminal }: Pick<Ambient, 'api' | 'terminal'>, imageId: string): Promise<boolean> {
  try {
    const answer = await api.call('DeregisterImage', { ImageId: imageId, DeleteAssociatedSnapshots: 'true' })
    const kept = textsOf(answer, 'returnCode').filter((code) => code !== 'success')
    if (kept.length > 0) terminal.say(`of ${imageId} not all snapshots could be deleted (${kept.join(', ')})`)
    return true
  } catch (error) {
    terminal.say(`${imageId} is still there: ${messageOf(error)}`)
    return false
  }
}

/** Clones as a person reads them. */
export function formatClones(clones: readonly CloneView[]): string {
  return formatTable([
    ['ZONE', 'INSTANCE', 'NAME', 'PRIVATE', 'PUBLIC'],
    ...clones.map((each) => [each.zone, each.instanceId, each.name, each.privateIp ?? '-', each.publicIp ?? '-']),
  ])
}

/** One sentence for what did not come up, which the command fails with, and what makes just that. */
export function failureOf({ source, failures, clones }: Cloned, settings: Pick<CloneSettings, 'home'>, flags: CloneFlags): string {
  const reasons = failures.map(({ zone, instanceId, reason }) => `${instanceId ?? 'no clone'} in ${zone}: ${reason}`)
  const others = clones.length > 0 ? `; ${clones.length === 1 ? 'the other one runs' : `the other ${clones.length} run`}` : ''
  const again = againWith(source, missingOf(failures, Number(flags.count)), flags).map((words) => hearthCommand(words, settings))
  return `${reasons.join('; ')}${others}${again.length === 0 ? '' : `; to try again: ${again.join('; ')}`}`
}

/** How many clones each zone lacks of the `count` it was to get. */
function missingOf(failures: readonly Failure[], count: number): Map<string, number> {
  const missing = new Map<string, number>()
  for (const { zone, instanceId, isToCome } of failures) if (!isToCome) missing.set(zone, (missing.get(zone) ?? 0) + (instanceId === null ? count : 1))
  return missing
}
