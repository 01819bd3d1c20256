import { noteFreezing, recordFrozen } from '../model/freeze.ts'
import { changeInstanceDoc } from '../model/instance.ts'
import { canSwitch, isSwitching, type AttachedVolume } from './attached-volumes.ts'
import { layerRef } from './disks.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { again, DONE, recording, type Outcome } from './loop.ts'

/**
 * Those of a running machine's volumes that are to change over now: what was begun is ended first; then all
 * that wait, at one instant, when the files of all are there.
 */
export function dueForSwitch(volumes: readonly AttachedVolume[]): AttachedVolume[] {
  const begun = volumes.filter((volume) => isSwitching(volume) && canSwitch(volume))
  if (begun.length > 0) return begun
  const pending = volumes.filter(({ row }) => row.next_layer_id !== null)
  return pending.every(canSwitch) ? pending : []
}

/**
 * Has a running machine go on in the next layers of its volumes, and writes down that it does. What is to
 * happen is noted before: an agent that dies in between leaves a machine that has changed over, or a guest
 * whose file systems are frozen, and the next one does the same again.
 */
export async function switchVolumes(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { clock, hypervisor, random } = options
  const { row, volumes } = loaded
  const id = row.instance_id
  const due = dueForSwitch(volumes)
  const noted = await note(options, loaded, due)
  if (noted === 'later') return again(0)
  if (due.length === 0 && !noted.freezing) return DONE
  // Told to go on where it is, the machine thaws what an earlier try may have frozen.
  const to = due.length > 0 ? due.map(({ row: { volume_id: volumeId }, next }) => ({ volumeId, layer: next }))
    : volumes.slice(0, 1).map(({ row: { volume_id: volumeId }, head }) => ({ volumeId, layer: head }))
  const switches = await Promise.all(to.flatMap(({ volumeId, layer }) =>
    (layer ? [layerRef(options, layer).then((ref) => ({ volumeId, to: ref }))] : [])))
  const { switched } = await hypervisor.switchDisks(id, switches, { quiesce: noted.freezing })
  // What a machine that runs has not is at rest: only this reconciler plugs it in. One that went down is another matter.
  const isDown = switched.length < switches.length && (await hypervisor.observe(id)).status !== 'running'
  if (isDown) return again(0)
  return recording('instance.frozen', async (db) => {
    await recordFrozen({ db, random, nowMs: clock.now() }, due.map((volume) => volume.row))
    if (noted.freezing) await changeInstanceDoc(db, id, { freezing: false })
  }, again(0))
}

/** 'later' when the guest is to be down for it, as somebody has asked since it was looked at. */
async function note(
  { store }: InstanceReconcilerOptions,
  { row, doc }: LoadedInstance,
  due: readonly AttachedVolume[],
): Promise<{ freezing: boolean } | 'later'> {
  const id = row.instance_id
  if (due.length === 0) return { freezing: doc.freezing ?? false }
  return store.transaction('instance.freezing', async (db) => {
    const now = await db
      .selectFrom('instances').select(['reboot_requested', 'reboot_completed']).where('instance_id', '=', id).executeTakeFirst()
    if (!now || now.reboot_requested > now.reboot_completed) return 'later'
    const mode = await noteFreezing(db, due.map((volume) => volume.row))
    const freezing = (doc.freezing ?? false) || mode !== 'crash'
    if (freezing) await changeInstanceDoc(db, id, { freezing })
    return { freezing }
  })
}
