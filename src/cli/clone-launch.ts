import { waitFor } from '../core/clock.ts'
import { ApiError, messageOf } from '../core/errors.ts'
import type { ApiClient } from './api-client.ts'
import { callPatiently, interruptible, type Ambient, type InSettings } from './clone-image.ts'
import type { CloneSource, ZoneLaunch } from './clone-plan.ts'
import { instanceStateOf } from './instance-state.ts'
import { textsOf } from './xml.ts'
import { whyItWaits } from './zone-trouble.ts'

/** A clone that was launched. */
export interface Started {
  zone: string
  instanceId: string
  name: string
}

/** A clone, or all of a zone, that did not come up, and why. */
export interface CloneFailure {
  zone: string
  instanceId: string | null
  reason: string
  /** It is still about to run, and may come up yet. */
  isPending?: true
}

/** Emulated guests take minutes. */
const RUNNING_TIMEOUT_MS = 15 * 60 * 1000
const LOOK_MS = 200

/**
 * Tries the launches before anything is made, with the image of the instance itself: a bake takes minutes, or a reboot of the guest,
 * and a slip of the keyboard is known at once.
 *
 * @throws Error where no zone would get its clones; a zone that would not, while others would, may have room until then.
 */
export async function rehearse({ api }: Pick<Ambient, 'api'>, { instance }: CloneSource, launches: readonly ZoneLaunch[]): Promise<void> {
  const reasons = await Promise.all(launches.map(({ parameters }) => refusalOf(api, { ImageId: instance.image_id, ...parameters })))
  const refused = launches.flatMap(({ zone }, index) => (reasons[index] ? [{ zone, reason: reasons[index] }] : []))
  if (refused.length < launches.length) return
  const [first, ...others] = new Set(refused.map(({ reason }) => reason))
  throw new Error(`nothing was made, since no clone could be launched: ${
    others.length === 0 ? first : refused.map(({ zone, reason }) => `in ${zone}: ${reason}`).join('; ')}`)
}

/** Why a launch would be refused; undefined where it would not, or where that is not known. */
async function refusalOf(api: ApiClient, parameters: Record<string, string>): Promise<string | undefined> {
  try {
    await api.call('RunInstances', { ...parameters, DryRun: 'true' })
    return undefined
  } catch (error) {
    // The image that it was launched from may have gone since; the one of its clones is still to be made.
    const isKnown = error instanceof ApiError && error.code !== 'DryRunOperation' && !error.code.startsWith('InvalidAMIID.')
    return isKnown ? error.message : undefined
  }
}

/** Launches the clones of one zone; they are all there, or none is. */
export async function launchIn(
  ambient: Ambient,
  imageId: string,
  { zone, names, parameters }: ZoneLaunch,
): Promise<{ clones: Started[]; failures: CloneFailure[] }> {
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
async function runInstances({ api, clock, random, signal }: Ambient, parameters: Record<string, string>): Promise<string> {
  const ClientToken = `clone-${random.bytes(16).toString('hex')}`
  try {
    return await callPatiently({ api, clock: interruptible(clock, signal) }, 'RunInstances', { ...parameters, ClientToken })
  } catch (error) {
    if (error instanceof ApiError) throw error
    throw new Error(`${messageOf(error)}; whether it launched them is not known: see hearth status`, { cause: error })
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

/** Waits until a clone runs, as long as its zone lets it. */
export async function untilRunning({ api, store, clock, signal, settings }: Ambient & InSettings, clone: Started): Promise<Started | CloneFailure> {
  const { zone, instanceId } = clone
  let isPending = false
  try {
    return await waitFor(interruptible(clock, signal), `${instanceId} to run`, RUNNING_TIMEOUT_MS, async () => {
      const looked = await lookAt(api, instanceId)
      if (looked === null) return false
      const { state, reason } = looked
      isPending = state === 'pending'
      if (!isPending && state !== 'running') throw new Error(`it is ${state}: ${reason ?? 'no reason is known'}`)
      const trouble = isPending ? await whyItWaits('it is pending', store, settings, clone) : undefined
      if (trouble !== undefined) throw new Error(trouble)
      return !isPending && clone
    }, LOOK_MS)
  } catch (error) {
    return { zone, instanceId, reason: messageOf(error), ...(isPending ? { isPending } : {}) }
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
