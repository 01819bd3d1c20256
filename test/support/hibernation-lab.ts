import type { Context } from '../../src/ec2/context.ts'
import { requestFreeze, type FreezeMode } from '../../src/model/freeze.ts'
import { changeInstanceDoc, instanceDoc, STATE_REASONS, type InstanceDoc, type InstanceState } from '../../src/model/instance.ts'
import { enqueue } from '../../src/store/work.ts'
import { addInstance, addSnapshot, addVolume, volumeRow, type DiskAgent } from './disk-agent.ts'
import { HOST_ID } from './rows.ts'

/** What the API writes about an instance; `doc` beside what it has. */
export const setInstance = (lab: DiskAgent, id: string, set: { state?: InstanceState; reboot_requested?: number }, doc: Partial<InstanceDoc> = {}) =>
  lab.run(async (context) => {
    const entered = set.state === undefined ? {} : { state_ms: context.nowMs }
    await context.db.updateTable('instances').set({ instance_id: id, ...entered, ...set }).where('instance_id', '=', id).execute()
    await changeInstanceDoc(context.db, id, doc)
    await enqueue(context.db, { kind: 'instance', id, hostId: HOST_ID }, context.nowMs)
  })

/** StopInstances with Hibernate. */
export const askToHibernate = (lab: DiskAgent, id: string) =>
  setInstance(lab, id, { state: 'stopping' }, { hibernate: true, stateReason: STATE_REASONS.userHibernate })

/** StartInstances. */
export const askToStart = (lab: DiskAgent, id: string, doc: Partial<InstanceDoc> = {}) =>
  setInstance(lab, id, { state: 'pending' }, { hibernate: false, force: false, startFailures: 0, stateReason: null, ...doc })

/** The same about a volume. */
export const setVolume = (lab: DiskAgent, instanceId: string, volumeId: string, set: object) => lab.run(async (context) => {
  await context.db.updateTable('volumes').set((eb) => ({ revision: eb('revision', '+', 1), ...set })).where('volume_id', '=', volumeId).execute()
  await enqueue(context.db, { kind: 'instance', id: instanceId, hostId: HOST_ID }, context.nowMs)
})

/** AttachVolume. */
const attach = (lab: DiskAgent, instanceId: string, volumeId: string) => setVolume(lab, instanceId, volumeId, {
  instance_id: instanceId, device: '/dev/sdf', attach_state: 'attaching', attached_ms: lab.clock.now() + 1, state: 'in-use',
})

/** CreateSnapshots of all volumes of an instance; those in the order of their devices. */
export const snapshotAll = (lab: DiskAgent, instanceId: string, mode: FreezeMode = 'crash') => lab.run(async (context: Context) => {
  const volumes = await context.db
    .selectFrom('volumes').selectAll().where('instance_id', '=', instanceId).orderBy('device').execute()
  const layers = await requestFreeze(context, volumes, mode)
  const ids: string[] = []
  for (const volume of volumes) ids.push(await addSnapshot(context, volume, layers.get(volume.volume_id) ?? ''))
  return ids
})

/** A running instance with an encrypted root and a data volume, whose guest has written and computed something. */
export async function runningGuest(lab: DiskAgent, kmsKeyId: string | undefined = 'a-key') {
  const { instance, root } = await addInstance(lab, kmsKeyId)
  const { volume_id: data } = await addVolume(lab)
  const id = instance.instance_id
  await attach(lab, id, data)
  await lab.settle()
  lab.world.guestWrites(id, root.volume_id, 1)
  lab.world.guestWrites(id, data, 2)
  lab.world.guestComputes(id)
  return { id, root: root.volume_id, data, before: { ...memoryOf(lab, id) } }
}

export const instanceOf = async (lab: DiskAgent, id: string) => {
  const row = await lab.query((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
  return { ...row, doc: instanceDoc(row) }
}
export const memoryOf = (lab: DiskAgent, id: string) => lab.world.machines.get(id)?.process?.memory
/** Names of the files with its memory. */
export const imagesOf = (lab: DiskAgent, id: string) => [...lab.world.machines.get(id)?.images.keys() ?? []]
export const processOf = (lab: DiskAgent, id: string) => lab.world.machines.get(id)?.process
/** What a volume holds. */
export const dataOf = async (lab: DiskAgent, volumeId: string) =>
  Object.fromEntries(lab.world.dataOf((await volumeRow(lab, volumeId))?.layer_id ?? ''))
