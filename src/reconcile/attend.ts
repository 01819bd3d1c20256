import { DisksError } from '../hypervisor/driver.ts'
import {
  forcedOut, forMachine, hasLongChain, isUnsettled, mustGrowFirst, recordVolumes, volumeChanges, VOLUMES_INTERVAL_MS,
} from './attached-volumes.ts'
import { diskSpecs } from './disks.ts'
import { cutOff, interfaceChanges, INTERFACES_INTERVAL_MS, isSecondary, nicSpecs, recordInterfaces } from './interfaces.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { again, DONE, isFatal, recording, type Outcome } from './loop.ts'
import type { Attention } from './plan-instance.ts'
import { shortenChains } from './shorten-chains.ts'
import { dueForSwitch, switchVolumes } from './switch-volumes.ts'

/** What of a running machine has to be looked at, in that order. */
export function attentionOf({ doc, interfaces, volumes }: Pick<LoadedInstance, 'doc' | 'interfaces' | 'volumes'>): Attention[] {
  const isFreezing = doc.freezing || dueForSwitch(volumes).length > 0
  const mustGrow = volumes.some(mustGrowFirst)
  return [
    // Whoever wants a snapshot waits for it; a change of layers makes nothing smaller, so what grows comes before.
    ...(isFreezing && !mustGrow ? ['freeze' as const] : []),
    ...(mustGrow || volumes.some(isUnsettled) ? ['volumes' as const] : []),
    ...(interfaces.some(isSecondary) ? ['interfaces' as const] : []),
    ...(volumes.some(hasLongChain) ? ['chain' as const] : []),
  ]
}

const ACTS: Record<Attention, (options: InstanceReconcilerOptions, loaded: LoadedInstance) => Promise<Outcome>> = {
  freeze: switchVolumes,
  volumes: ensureVolumes,
  interfaces: ensureInterfaces,
  chain: shortenChains,
}

/**
 * Compares what should be in a running machine with what is. A guest or a QEMU that refuses one thing keeps
 * nothing else from being done; the first error is thrown when all the rest is.
 */
export async function attend(
  options: InstanceReconcilerOptions,
  loaded: LoadedInstance,
  parts: readonly Attention[],
): Promise<Outcome> {
  const outcomes: Outcome[] = []
  const failures: unknown[] = []
  for (const part of parts) {
    try {
      const outcome = await ACTS[part](options, loaded)
      outcomes.push(outcome)
      // The volumes are not what was read any more.
      if (part === 'freeze' && outcome.kind === 'again') break
    } catch (error) {
      if (isFatal(error)) throw error
      failures.push(error)
    }
  }
  const merged = merge(outcomes)
  if (failures.length === 0) return merged
  const { observed } = merged
  if (observed) await options.store.transaction(observed.name, (db) => observed.write(db))
  throw failures[0]
}

/** All that was seen, and a look again as soon as any of them wants it. */
function merge(outcomes: readonly Outcome[]): Outcome {
  const observed = outcomes.flatMap((outcome) => outcome.observed ?? [])
  const pauses = outcomes.flatMap((outcome) => (outcome.kind === 'again' ? outcome.afterMs : []))
  const end = pauses.length > 0 ? again(Math.min(...pauses)) : DONE
  const [first] = observed
  if (!first) return end
  return recording(observed.length === 1 ? first.name : 'instance.attended', async (db) => {
    for (const each of observed) await each.write(db)
  }, end)
}

/** Plugs in what was attached to a running machine, and has the guest give up what was detached. */
async function ensureInterfaces(
  { clock, hypervisor, network }: InstanceReconcilerOptions,
  { row, interfaces }: LoadedInstance,
): Promise<Outcome> {
  const plugged = await hypervisor.ensureNics(row.instance_id, nicSpecs(network, interfaces), cutOff(interfaces))
  const changes = interfaceChanges(interfaces, plugged)
  const outcome = changes.isSettled ? DONE : again(INTERFACES_INTERVAL_MS)
  if (changes.attached.length + changes.detached.length === 0) return outcome
  return recording('instance.interfaces', (db) => recordInterfaces(db, row, changes, clock.now()), outcome)
}

/** The same for volumes, whose size and limits may have changed as well. */
async function ensureVolumes(options: InstanceReconcilerOptions, { row, volumes }: LoadedInstance): Promise<Outcome> {
  const { clock, hypervisor } = options
  const id = row.instance_id
  const specs = await diskSpecs(options, forMachine(volumes))
  const open = await hypervisor.ensureDisks(id, specs, forcedOut(volumes)).catch(async (error: unknown) => {
    // One that cannot be had keeps nobody from hearing of the others.
    if (error instanceof DisksError) {
      const seen = volumeChanges(volumes, error.open)
      await options.store.transaction('instance.volumes', (db) => recordVolumes(db, id, seen, clock.now()))
    }
    throw error
  })
  const changes = volumeChanges(volumes, open)
  // A larger disk may be what a snapshot waits for.
  const pauseMs = changes.inForce.some(mustGrowFirst) ? 0 : VOLUMES_INTERVAL_MS
  const outcome = changes.isSettled && pauseMs > 0 ? DONE : again(pauseMs)
  if (changes.attached.length + changes.detached.length + changes.inForce.length === 0) return outcome
  return recording('instance.volumes', (db) => recordVolumes(db, id, changes, clock.now()), outcome)
}
