import type { Random } from '../core/random.ts'
import { insertRow } from '../store/prepared.ts'
import type { InstanceTable, SubnetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { hostToReturnTo, type HostAndNode } from './host-to-return-to.ts'
import { instanceDoc, moveInstance, type InstanceDoc } from './instance.ts'
import { backupDoc, backupOf, rootOf, volumeFates, type InstanceBackupDoc, type VolumeFate } from './instance-backup.ts'
import { restoreInterfaces } from './restore-interfaces.ts'
import { RestoreError } from './restore-error.ts'
import { ensureSlot } from './slot.ts'

interface Ambient {
  db: Db
  random: Random
  nowMs: number
}

/** How an instance came back. */
export interface RestoredInstance {
  instanceId: string
  state: InstanceTable['state']
  /** False where there was nothing to do: it was there already. */
  isRestored: boolean
  privateIp: string | null
  /** What is not as it was, in sentences. */
  notices: string[]
}

/**
 * Undoes the termination of an instance whose data were kept: under its id, stopped, with its disks, tags and attributes;
 * with its interfaces and private addresses as far as those are free. Again for one that is back is the same.
 *
 * @param subnetId where it is to be from now on, when that is not where it was.
 * @throws RestoreError when there is nothing to restore it from, its root is gone, or its subnet; ApiError when that is full.
 */
export async function restoreInstance(
  ambient: Ambient,
  instanceId: string,
  { subnetId }: { subnetId?: string | undefined } = {},
): Promise<RestoredInstance> {
  const { db, nowMs } = ambient
  const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
  const backup = await backupOf(db, instanceId)
  if (!backup) return answerWithoutBackup(db, instanceId, row)
  const doc = backupDoc(backup)
  const fateOf = await volumeFates(db, [doc])
  const obstacle = obstacleOf(doc, fateOf)
  if (obstacle !== undefined) throw new RestoreError(`${instanceId} cannot be restored: ${obstacle}`)
  const subnet = await requireSubnet(db, doc, subnetId)
  const host = await requireHost(db, row ?? doc.instance)
  const instance = row ? await bringBack(ambient, row, subnet, host) : await insertAgain(ambient, doc, subnet, host)
  const notices = await restoreInterfaces(ambient, instance, doc.interfaces, subnet)
  if (doc.instance.lifecycle === 'spot') notices.push('it was a spot instance, whose request has ended: it is on demand now')
  notices.push(...(await restoreVolumes(ambient, instance, doc, fateOf)))
  await db.deleteFrom('instance_backups').where('instance_id', '=', instanceId).execute()
  await enqueue(db, { kind: 'instance', id: instanceId, hostId: instance.host_id }, nowMs)
  return { instanceId, state: instance.state, isRestored: true, privateIp: await privateIpOf(db, instanceId), notices }
}

/** Why it cannot be restored, as its disks are now; undefined when it can. */
export function obstacleOf(doc: InstanceBackupDoc, fateOf: (volumeId: string) => VolumeFate): string | undefined {
  const root = rootOf(doc)
  const fate = root === undefined ? 'free' : fateOf(root.volume_id)
  if (root === undefined || fate === 'free') return undefined
  if (fate === 'gone') return `its root volume ${root.volume_id} is gone`
  return `its root volume ${root.volume_id} is attached to ${fate.instanceId}; detach it there first`
}

async function answerWithoutBackup(db: Db, instanceId: string, row: InstanceTable | undefined): Promise<RestoredInstance> {
  if (row?.state === 'shutting-down') throw new RestoreError(`${instanceId} is being terminated; try again when it is`)
  if (!row || row.state === 'terminated') {
    throw new RestoreError(`nothing is kept of ${instanceId}; hearth restore lists what can be restored, `
      + 'and hearth retention set makes a rule for what is terminated later')
  }
  return { instanceId, state: row.state, isRestored: false, privateIp: await privateIpOf(db, instanceId), notices: [] }
}

async function privateIpOf(db: Db, instanceId: string): Promise<string | null> {
  const found = await db
    .selectFrom('interfaces').select('private_ip').where('instance_id', '=', instanceId).where('device_index', '=', 0)
    .executeTakeFirst()
  return found?.private_ip ?? null
}

/** The subnet that the instance is to be in: one of its account and zone, where its volumes are. */
async function requireSubnet(db: Db, { instance }: InstanceBackupDoc, subnetId: string | undefined): Promise<SubnetTable> {
  const id = subnetId ?? instance.subnet_id ?? ''
  const { account_id: account, zone } = instance
  const subnet = await db
    .selectFrom('subnets').selectAll().where('subnet_id', '=', id).where('account_id', '=', account).executeTakeFirst()
  if (subnet?.zone === zone) return subnet
  const others = await db
    .selectFrom('subnets').select('subnet_id').where('account_id', '=', account).where('zone', '=', zone)
    .orderBy('created_ms').orderBy('subnet_id').execute()
  const what = subnet ? `the subnet ${id} is in ${subnet.zone}, and its volumes are in ${zone}` : `the subnet ${id} is not there`
  const advice = others.length === 0
    ? `make one in ${zone}, and name it with --subnet`
    : `name another one with --subnet: ${others.map((each) => each.subnet_id).join(', ')}`
  throw new RestoreError(`${instance.instance_id} cannot be restored: ${what}; ${advice}`)
}

async function requireHost(db: Db, instance: InstanceTable): Promise<HostAndNode> {
  const host = await hostToReturnTo(db, instance)
  if (host) return host
  throw new RestoreError(
    `${instance.instance_id} cannot be restored: no host of ${instance.zone} is left where its volumes are; have one there again `
      + '(zones and hosts-per-zone in the settings)',
  )
}

type PlacedInstance = InstanceTable & { vpc_id: string; subnet_id: string }

/** What a stopped instance has not, whatever it was doing when it was terminated. */
const AT_REST = {
  stateReason: null, stateTransitionReason: '', force: false, skipOsShutdown: false, freezing: false, reboot: null,
  startFailures: 0, outOfSpaceSinceMs: null, hibernate: false, memory: null, checks: undefined, spot: undefined, waitsFor: undefined,
} as const satisfies Partial<InstanceDoc>

/** What the row of an instance did not have when an earlier version backed it up. */
const OF_EARLIER_VERSIONS = {
  tenancy: 'default', placement_group_id: null, partition_number: null, lifecycle: 'on-demand', spot_request_id: null, fleet_id: null,
} as const

/** The request of a spot instance has ended with it, and there is no spot instance without one. */
const ON_DEMAND = { lifecycle: 'on-demand', spot_request_id: null, fleet_id: null } as const

/** Its next start finds it a place. */
const NOWHERE = { dedicated_host_id: null, capacity_reservation_id: null } as const

/** An instance that is still shown as terminated. */
async function bringBack(ambient: Ambient, row: InstanceTable, subnet: SubnetTable, host: HostAndNode): Promise<PlacedInstance> {
  const { db, random, nowMs } = ambient
  const moved = await moveInstance(db, row, 'stopped', nowMs, AT_REST)
  if (!moved) throw new Error(`${row.instance_id} left ${row.state} inside a transaction`)
  const place = {
    ...ON_DEMAND, ...host, vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id,
    slot: await ensureSlot(db, random, host.node_id, 'machine', row.instance_id),
  }
  await db.updateTable('instances').set(place).where('instance_id', '=', row.instance_id).execute()
  return { ...moved, ...place }
}

/** An instance that was forgotten, with its tags and the token of its launch, as far as nobody else has that by now. */
async function insertAgain(
  ambient: Ambient, doc: InstanceBackupDoc, subnet: SubnetTable, host: HostAndNode,
): Promise<PlacedInstance> {
  const { db, random, nowMs } = ambient
  const id = doc.instance.instance_id
  const row = {
    ...OF_EARLIER_VERSIONS, ...doc.instance, ...ON_DEMAND, ...NOWHERE, ...host, state: 'stopped', state_ms: nowMs, holds_capacity: 0,
    vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id,
    slot: await ensureSlot(db, random, host.node_id, 'machine', id),
    doc: JSON.stringify({ ...instanceDoc(doc.instance), ...AT_REST }),
  } as const satisfies InstanceTable
  await insertRow(db, 'instances', { ...row })
  for (const tag of doc.tags) {
    await insertRow(db, 'tags', { account_id: row.account_id, resource_type: 'instance', resource_id: id, ...tag })
  }
  for (const token of doc.tokens) {
    await db.insertInto('client_tokens').values(token).onConflict((conflict) => conflict.doNothing()).execute()
  }
  return row
}

/** Attaches what there is of its volumes, as it was; says what is missing. */
async function restoreVolumes(
  { db }: Ambient,
  instance: PlacedInstance,
  doc: InstanceBackupDoc,
  fateOf: (volumeId: string) => VolumeFate,
): Promise<string[]> {
  const notices: string[] = []
  for (const { volume_id: id, ...saved } of doc.volumes) {
    const fate = fateOf(id)
    if (fate !== 'free') {
      const what = fate === 'gone' ? 'is gone' : `is attached to ${fate.instanceId}`
      notices.push(`its volume ${id} at ${saved.device} ${what}, and was left out`)
      continue
    }
    await db
      .updateTable('volumes')
      .set((eb) => ({
        ...saved, state: 'in-use', instance_id: instance.instance_id, attach_state: 'attached',
        binned_ms: null, bin_exit_ms: null, revision: eb('revision', '+', 1),
      }))
      .where('volume_id', '=', id).execute()
  }
  return notices
}
