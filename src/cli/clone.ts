import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { instanceDoc } from '../model/instance.ts'
import { zonesOf } from '../model/zone.ts'
import type { AnySettings } from '../realm.ts'
import type { Store } from '../store/store.ts'
import { bakeFor, removeImage, tellOtherImages, type Ambient } from './clone-image.ts'
import { launchIn, rehearse, untilRunning, type CloneFailure, type Started } from './clone-launch.ts'
import { againWith, loadSource, planClones, type CloneOrder, type CloneSource } from './clone-plan.ts'
import { hearthCommand, newCommand, settingsOfZone, withSettings, withStore } from './command.ts'
import { findInstance, listInstances, type InstanceView } from './instances.ts'
import { untilInterrupted } from './interrupt.ts'
import { openRunningCloud } from './running-cloud.ts'
import { formatTable, withProgress, type Terminal } from './terminal.ts'
import { requireZone } from './zone-trouble.ts'

interface CloneFlags extends Omit<CloneOrder, 'count'> {
  count: string
  reboot?: boolean
  keepImage?: boolean
  json?: boolean
}

/** A clone that runs. */
export interface CloneView extends Started {
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
  /** Single clones that did not come up, or all of a zone, and why. */
  failures: CloneFailure[]
}

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
      return untilInterrupted(terminal, (signal) =>
        cloneInstance({ api, store, clock: systemClock, random: systemRandom, terminal, signal }, settings, instance, flags))
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
 * @throws Error where there is nothing to launch into, before anything is made; where the image fails; where it is interrupted, which
 *   tells what was launched by then; ApiError.
 */
export async function cloneInstance(
  ambient: Ambient,
  settings: Pick<AnySettings, 'region' | 'zones' | 'home' | 'cloudHome'>,
  instance: InstanceView,
  flags: CloneFlags,
): Promise<Cloned> {
  const { store, clock, terminal, signal } = ambient
  const id = instance.instanceId
  const source = await loadSource(store, id)
  const launches = planClones(source, { ...flags, count: Number(flags.count) }, { region: settings.region, zones: zonesOf(settings) })
  await rehearse(ambient, source, launches)
  tellDifferences(source, flags, terminal)
  await tellOtherImages(ambient)
  const imageId = await bakeFor({ ...ambient, settings }, instance, flags)
  const cloned: Cloned = { source: id, imageId, isImageKept: flags.keepImage === true, clones: [], failures: [] }
  try {
    signal?.throwIfAborted()
    const results = await Promise.all(launches.map((launch) => launchIn(ambient, imageId, launch)))
    const started = results.flatMap((result) => result.clones)
    const came = await withProgress(clock, terminal, 'waiting for the clones to run', () =>
      Promise.all(started.map((clone) => untilRunning({ ...ambient, settings }, clone))))
    const failures = results.flatMap((result) => result.failures)
    if (signal?.aborted) throw new Error(interruptedAfter(started, failures))
    cloned.failures.push(...failures, ...came.flatMap((each) => ('reason' in each ? each : [])))
    cloned.clones.push(...await withAddresses(store, came.flatMap((each) => ('reason' in each ? [] : each))))
  } finally {
    if (!cloned.isImageKept) cloned.isImageKept = !(await removeImage(ambient, imageId))
  }
  return cloned
}

/** In what the clones are not as one may think. */
function tellDifferences({ instance, isKeyGone, moreInterfaces, forwards }: CloneSource, { key }: CloneFlags, { say }: Terminal): void {
  const id = instance.instance_id
  const { metadataOptions, memory } = instanceDoc(instance)
  if (isKeyGone && key === undefined) say(`the key pair ${instance.key_name} is gone: the clones have none, and take the keys that are on the disk`)
  if (instance.lifecycle === 'spot') say(`${id} is a spot instance; its clones are on demand`)
  if (moreInterfaces > 0) say(`${id} has ${moreInterfaces + 1} network interfaces; its clones have one`)
  if (forwards) say(`${id} forwards packets of others; its clones do not: aws ec2 modify-instance-attribute --no-source-dest-check makes them`)
  if (metadataOptions.httpEndpoint === 'disabled') {
    say(`${id} has no metadata service, nor have its clones, which do not learn who they are: their SSH host keys and host name stay those of ${id} `
      + 'until aws ec2 modify-instance-metadata-options --http-endpoint enabled')
  }
  if (memory) say(`${id} is hibernated; its clones have its disks, but not what is in its memory`)
}

/** What there is of clones that nobody waits for any more. */
function interruptedAfter(started: readonly Started[], failures: readonly CloneFailure[]): string {
  const launched = started.length === 0 ? 'no clone was launched' : `launched, and coming up all the same: ${
    started.map(({ instanceId, name, zone }) => `${instanceId} (${name}) in ${zone}`).join(', ')}`
  return ['interrupted', launched, ...failures.map(({ zone, reason }) => `no clone in ${zone}: ${reason}`)].join('; ')
}

async function withAddresses(store: Store, clones: readonly Started[]): Promise<CloneView[]> {
  const views = new Map((await listInstances(store)).map((each) => [each.instanceId, each]))
  return clones.map((clone) => {
    const { privateIp = null, publicIp = null } = views.get(clone.instanceId) ?? {}
    return { ...clone, privateIp, publicIp }
  })
}

/** Clones as a person reads them. */
export function formatClones(clones: readonly CloneView[]): string {
  return formatTable([
    ['ZONE', 'INSTANCE', 'NAME', 'PRIVATE', 'PUBLIC'],
    ...clones.map((each) => [each.zone, each.instanceId, each.name, each.privateIp ?? '-', each.publicIp ?? '-']),
  ])
}

/** One sentence for what did not come up, which the command fails with, and what makes just that. */
export function failureOf({ source, failures, clones }: Cloned, settings: Pick<AnySettings, 'home' | 'cloudHome'>, flags: CloneFlags): string {
  const reasons = failures.map(({ zone, instanceId, reason }) => `${instanceId ?? 'no clone'} in ${zone}: ${reason}`)
  const others = clones.length > 0 ? `; ${clones.length === 1 ? 'the other one runs' : `the other ${clones.length} run`}` : ''
  const again = againWith(source, missingOf(failures, Number(flags.count)), flags).map((words) => hearthCommand(words, settings))
  return `${reasons.join('; ')}${others}${again.length > 0 ? `; to try again: ${again.join('; ')}` : ''}`
}

/** How many clones each zone lacks of the `count` it was to get; those that may come up yet are not lacking. */
function missingOf(failures: readonly CloneFailure[], count: number): Map<string, number> {
  const missing = new Map<string, number>()
  for (const { zone, instanceId, isPending } of failures) if (!isPending) missing.set(zone, (missing.get(zone) ?? 0) + (instanceId === null ? count : 1))
  return missing
}
