import { waitFor, type Clock } from '../core/clock.ts'
import { ApiError, messageOf } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { imageDoc } from '../model/image.ts'
import type { Store } from '../store/store.ts'
import type { ApiClient } from './api-client.ts'
import { bakeImage } from './image-bake.ts'
import { listAmis } from './images.ts'
import type { InstanceView } from './instances.ts'
import type { Terminal } from './terminal.ts'
import { textsOf } from './xml.ts'
import type { zoneTrouble } from './zone-trouble.ts'

/** What a command that makes clones works with. */
export interface Ambient {
  api: ApiClient
  store: Store
  clock: Clock
  random: Random
  terminal: Terminal
  /** Aborts when the person does not want it any more. */
  signal?: AbortSignal
}

/** How long an API that does not answer is asked again: it may be restarting. */
const ANSWER_TIMEOUT_MS = 60_000
const ANSWER_PAUSE_MS = 1000

/** How the image of a clone that is not to be kept is told from others. */
const PASSING = 'For clones of '

/** Which cloud it is, for commands that are told. */
export interface InSettings {
  settings: Parameters<typeof zoneTrouble>[1]
}

/** Whether the image that clones are launched from stays, and how its moment is taken. */
interface BakeOrder {
  reboot?: boolean
  keepImage?: boolean
}

/** The image that clones are launched from. One that does not become available, or is not wanted any more, is not left behind. */
export async function bakeFor(ambient: Ambient & InSettings, instance: InstanceView, { reboot, keepImage }: BakeOrder): Promise<string> {
  const { store, clock, random, terminal, signal, settings } = ambient
  const id = instance.instanceId
  const name = `clone-of-${id}-${random.bytes(4).toString('hex')}`
  try {
    const api = patientApi(ambient, name)
    const { imageId } = await bakeImage({ api, store, clock: interruptible(clock, signal), say: terminal.say, settings }, instance, {
      name, description: keepImage === true ? `Of ${id}, for its clones` : `${PASSING}${id}`, ...(reboot ? { reboot } : {}),
    })
    return imageId
  } catch (error) {
    // By its name: an answer that was lost told no id.
    for (const ami of await listAmis(store)) {
      if (ami.name === name) await removeImage(ambient, ami.imageId)
    }
    throw error
  }
}

/** The API for a bake: it is asked again where no answer came, and what it made all the same has the name, which is nobody else's. */
function patientApi({ api, store, clock, signal }: Ambient, name: string): ApiClient {
  return {
    async call(action, parameters = {}) {
      try {
        return await callPatiently({ api, clock: interruptible(clock, signal) }, action, parameters)
      } catch (error) {
        const isMade = error instanceof ApiError && error.code === 'InvalidAMIName.Duplicate'
        const made = isMade ? (await listAmis(store)).find((ami) => ami.name === name) : undefined
        if (!made) throw error
        return `<imageId>${made.imageId}</imageId>`
      }
    },
  }
}

/**
 * Removes an image; the clones' disks stand on what is under it, which stays for as long as they do.
 *
 * @returns whether it is gone.
 */
export async function removeImage({ api, clock, terminal }: Ambient, imageId: string): Promise<boolean> {
  try {
    const answer = await callPatiently({ api, clock }, 'DeregisterImage', { ImageId: imageId, DeleteAssociatedSnapshots: 'true' })
    const kept = textsOf(answer, 'returnCode').filter((code) => code !== 'success')
    if (kept.length > 0) terminal.say(`of ${imageId} not all snapshots could be deleted (${kept.join(', ')})`)
    return true
  } catch (error) {
    // Removed before by a call whose answer was lost.
    if (error instanceof ApiError && error.code.startsWith('InvalidAMIID.')) return true
    terminal.say(`${imageId} is still there: ${messageOf(error)}; to remove it: ${removalOf(imageId)}`)
    return false
  }
}

/** Tells of images that other clones were to be launched from: where such a command was killed, nobody else knows of them. */
export async function tellOtherImages({ store, terminal }: Pick<Ambient, 'store' | 'terminal'>): Promise<void> {
  const rows = await store.read((db) =>
    db.selectFrom('images').selectAll().where('account_id', '=', DEFAULT_ACCOUNT).where('binned_ms', 'is', null).orderBy('created_ms').execute())
  for (const row of rows.filter((each) => imageDoc(each).description.startsWith(PASSING))) {
    terminal.say(`${row.image_id} (${row.name}) is of another hearth clone: where none is at work it was killed, and left that; ${removalOf(row.image_id)}`)
  }
}

function removalOf(imageId: string): string {
  return `aws ec2 deregister-image --image-id ${imageId} --delete-associated-snapshots`
}

/**
 * Calls the API, again where no answer comes. Calls that are not to be done twice say so to the API by a token.
 *
 * @throws ApiError, or Error where the API does not answer for a minute.
 */
export async function callPatiently(
  { api, clock }: Pick<Ambient, 'api' | 'clock'>,
  action: string,
  parameters: Record<string, string>,
): Promise<string> {
  let unanswered: unknown
  return waitFor(clock, 'an answer', ANSWER_TIMEOUT_MS, async () => {
    try {
      return await api.call(action, parameters)
    } catch (error) {
      if (error instanceof ApiError) throw error
      unanswered = error
      return false
    }
  }, ANSWER_PAUSE_MS).catch((error: unknown) => {
    throw error instanceof ApiError || unanswered === undefined ? error : unanswered
  })
}

/** The clock, on which nobody sleeps any more once the signal has aborted. */
export function interruptible(clock: Clock, signal: AbortSignal | undefined): Clock {
  return {
    now: () => clock.now(), after: (delayMs, run) => clock.after(delayMs, run), soon: (run) => clock.soon(run),
    sleep: (delayMs) => clock.sleep(delayMs, signal),
  }
}
