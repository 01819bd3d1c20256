import { recordFrozen } from '../model/freeze.ts'
import { recordAttachedAtRest } from '../model/attached.ts'
import { freeVolume } from '../model/free-volume.ts'
import { changeInstanceDoc } from '../model/instance.ts'
import type { Random } from '../core/random.ts'
import type { Db } from '../store/store.ts'
import { canSwitch, isTooSmall, isUnsettled } from './attached-volumes.ts'
import { keyOf } from './disks.ts'
import { withLayers, type InstanceReconcilerOptions, type LoadedInstance } from './load-instance.ts'
import { again, recording, type Outcome } from './loop.ts'
import { completeModification } from './modification.ts'

/**
 * Does with the volumes of an instance that has no machine what waits for that: snapshots get what is in
 * them, they get the size that they should have, and those that are being detached are let go.
 */
export async function settleVolumes(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { clock, hypervisor, keys, random, volumes } = options
  const { row, doc } = loaded
  const id = row.instance_id
  // One whose guest is down still has its files open.
  await hypervisor.ensureStopped(id)
  const isFirst = loaded.volumes.some((volume) => canSwitch(volume) || volume.row.attach_state === 'detaching')
  if (isFirst) {
    return recording('instance.volumes-at-rest', async (db) => {
      await settleAtRest({ db, random, nowMs: clock.now() }, id)
      // What the guest froze is frozen still when it goes on with its memory.
      if (doc.freezing && !doc.memory) await changeInstanceDoc(db, id, { freezing: false })
    }, again(0))
  }
  const due = loaded.volumes.filter((volume) => isTooSmall(volume) || (volume.next === null && isUnsettled(volume)))
  for (const volume of due.filter(isTooSmall)) {
    const { head } = volume
    const spec = { layerId: head.layer_id, sizeGib: volume.row.size_gib, parentId: head.parent_id, key: await keyOf(keys, head) }
    await volumes.ensureSize(spec)
  }
  return recording('instance.volumes-modified', async (db) => {
    for (const volume of due) await completeModification(db, volume.row, clock.now())
    await recordAttachedAtRest(db, id, clock.now())
  }, again(0))
}

/**
 * For a transaction that knows that the instance has no machine: volumes whose next files are there go on in
 * them, those that are being detached are let go.
 */
export async function settleAtRest(ambient: { db: Db; random: Random; nowMs: number }, instanceId: string): Promise<void> {
  const { db, nowMs } = ambient
  const rows = await db
    .selectFrom('volumes').selectAll().where('instance_id', '=', instanceId).orderBy('volume_id').execute()
  const volumes = await withLayers(db, rows)
  await recordFrozen(ambient, volumes.filter(canSwitch).map(({ row }) => row))
  for (const { row } of volumes) {
    if (row.attach_state === 'detaching') await freeVolume(db, row, nowMs)
  }
}
