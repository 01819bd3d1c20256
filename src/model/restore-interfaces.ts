import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { insertRow } from '../store/prepared.ts'
import type { InstanceTable, InterfaceTable, SubnetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { isPrivateTaken, pickPrivateAddress } from './address.ts'
import type { BackedUpInterface } from './instance-backup.ts'
import { interfaceDoc, newMac, type InterfaceDoc } from './interface.ts'
import { ensureSlot, releaseSlot } from './slot.ts'

interface Restoring {
  db: Db
  random: Random
  nowMs: number
  /** As it is again: stopped. */
  instance: InstanceTable
  /** Where its primary interface is to be. */
  subnet: SubnetTable
  /** Addresses that it had, which none of its interfaces gets by chance. */
  reserved: string[]
  notices: string[]
}

/**
 * Gives a stopped instance the interfaces that it had: the primary one in any case, in `subnet`; others where their
 * subnets are still there and in the same VPC. Public addresses come with its start, Elastic IPs not at all.
 *
 * @returns what is not as it was, in sentences.
 * @throws ApiError InsufficientFreeAddressesInSubnet.
 */
export async function restoreInterfaces(
  ambient: { db: Db; random: Random; nowMs: number },
  instance: InstanceTable,
  interfaces: readonly BackedUpInterface[],
  subnet: SubnetTable,
): Promise<string[]> {
  const reserved = interfaces.flatMap((each) => [each.row.private_ip, ...each.secondaryIps])
  const restoring: Restoring = { ...ambient, instance, subnet, reserved, notices: [] }
  for (const saved of interfaces) await restoreInterface(restoring, saved)
  return restoring.notices
}

async function restoreInterface(restoring: Restoring, saved: BackedUpInterface): Promise<void> {
  const { db, random, notices } = restoring
  const id = saved.row.interface_id
  const isPrimary = saved.row.device_index === 0
  const subnet = isPrimary ? restoring.subnet : await subnetOfFurther(restoring, saved.row)
  if (!subnet) {
    notices.push(`its network interface ${id} was left out: its subnet ${saved.row.subnet_id} is not there, or in another VPC`)
    return
  }
  const now = await db.selectFrom('interfaces').selectAll().where('interface_id', '=', id).executeTakeFirst()
  if (now && isFree(now) && now.subnet_id === subnet.subnet_id) return takeBack(restoring, saved, now)
  if (now && !isPrimary) {
    notices.push(`its network interface ${id} is in use elsewhere, and was left out`)
    return
  }
  const newInterfaceId = now ? newId(random, 'eni') : id
  if (now) notices.push(`its network interface ${id} is in use elsewhere; it has a new one, ${newInterfaceId}`)
  await makeAgain(restoring, saved, { interfaceId: newInterfaceId, subnet })
}

function subnetOfFurther({ db, subnet }: Restoring, row: InterfaceTable): Promise<SubnetTable | undefined> {
  return db
    .selectFrom('subnets').selectAll().where('subnet_id', '=', row.subnet_id).where('vpc_id', '=', subnet.vpc_id)
    .executeTakeFirst()
}

/** Nobody's; or deleted, and its port not gone yet. */
function isFree(row: InterfaceTable): boolean {
  return row.instance_id === null && row.requester_id === null && (row.status === 'available' || row.status === 'removing')
}

/** What an interface of the instance has while that is stopped. */
async function attachedColumns({ db, random, instance }: Restoring, saved: InterfaceTable, interfaceId: string) {
  return {
    instance_id: instance.instance_id, host_id: instance.node_id,
    // The primary one has its instance's slot.
    slot: saved.device_index === 0 ? instance.slot : await ensureSlot(db, random, instance.node_id, 'machine', interfaceId),
    device_index: saved.device_index, status: 'in-use', wanted: 0, ready: 0, delete_on_termination: saved.delete_on_termination,
  } as const
}

/** An interface that is still there keeps what it has; its port goes if it has not yet. */
async function takeBack(restoring: Restoring, saved: BackedUpInterface, now: InterfaceTable): Promise<void> {
  const { db, nowMs, instance, notices } = restoring
  const { interface_id: id, vpc_id: vpcId } = now
  const columns = await attachedColumns(restoring, saved.row, id)
  // It may have been a further one of another instance meanwhile, and its port not be gone yet.
  if (saved.row.device_index === 0 && now.host_id !== null) await releaseSlot(db, now.host_id, 'machine', id)
  const doc = docOf(saved.row, { description: interfaceDoc(now).description })
  await db
    .updateTable('interfaces').set((eb) => ({ ...columns, doc, revision: eb('revision', '+', 1) }))
    .where('interface_id', '=', id).execute()
  await enqueue(db, { kind: 'ports', id: vpcId, hostId: instance.node_id }, nowMs)
  if (now.status === 'removing') noteElasticIps(notices, saved)
}

async function makeAgain(
  restoring: Restoring,
  saved: BackedUpInterface,
  { interfaceId, subnet }: { interfaceId: string; subnet: SubnetTable },
): Promise<void> {
  const { db, nowMs, notices } = restoring
  const row: InterfaceTable = {
    ...saved.row, ...(await attachedColumns(restoring, saved.row, interfaceId)),
    interface_id: interfaceId, vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id, zone: subnet.zone,
    private_ip: await addressFor(restoring, saved.row, subnet), mac: await macFor(restoring, saved.row, interfaceId),
    public_ip: null, doc: docOf(saved.row),
    // It has no port, and is to have none before the start.
    revision: 1, synced_revision: 1,
  }
  await insertRow(db, 'interfaces', { ...row })
  for (const [position, groupId] of (await groupsFor(restoring, saved, subnet)).entries()) {
    await insertRow(db, 'interface_groups', { interface_id: interfaceId, group_id: groupId, position })
  }
  for (const address of saved.secondaryIps) {
    if (subnet.subnet_id !== saved.row.subnet_id || await isPrivateTaken(db, subnet.vpc_id, address)) {
      notices.push(`the secondary private address ${address} of ${interfaceId} is not free any more, and was left out`)
      continue
    }
    await insertRow(db, 'interface_addresses', {
      interface_id: interfaceId, vpc_id: subnet.vpc_id, private_ip: address, public_ip: null, created_ms: nowMs,
    })
  }
  for (const tag of saved.tags) {
    await insertRow(db, 'tags', {
      account_id: row.account_id, resource_type: 'network-interface', resource_id: interfaceId, ...tag,
    })
  }
  noteElasticIps(notices, saved)
}

function docOf(saved: InterfaceTable, change: Partial<InterfaceDoc> = {}): string {
  const { forceDetach: _gone, ...doc } = interfaceDoc(saved)
  return JSON.stringify({ ...doc, ...change })
}

/** The address that it had, or another one of the subnet. */
async function addressFor(restoring: Restoring, saved: InterfaceTable, subnet: SubnetTable): Promise<string> {
  const { db, random, reserved, notices } = restoring
  const had = saved.private_ip
  const isThere = subnet.subnet_id === saved.subnet_id
  if (isThere && !(await isPrivateTaken(db, subnet.vpc_id, had))) return had
  const address = await pickPrivateAddress(db, random, subnet, { asker: 'interface', except: reserved })
  const why = isThere ? `its private address ${had} is in use elsewhere` : `its private address ${had} was in another subnet`
  notices.push(`${why}; it has a new one, ${address}`)
  return address
}

async function macFor({ db, random, notices }: Restoring, saved: InterfaceTable, interfaceId: string): Promise<string> {
  const namesake = await db.selectFrom('interfaces').select('interface_id').where('mac', '=', saved.mac).executeTakeFirst()
  if (!namesake) return saved.mac
  const mac = newMac(random)
  notices.push(`the MAC address ${saved.mac} is in use elsewhere; ${interfaceId} has a new one, ${mac}`)
  return mac
}

/** Those of its groups that are still there, else the default one of the VPC: no interface is without. */
async function groupsFor({ db, notices }: Restoring, { groupIds }: BackedUpInterface, subnet: SubnetTable): Promise<string[]> {
  const groups = await db
    .selectFrom('security_groups').select(['group_id', 'name']).where('vpc_id', '=', subnet.vpc_id).execute()
  const [left, gone] = [true, false].map((isThere) =>
    groupIds.filter((id) => groups.some((group) => group.group_id === id) === isThere)) as [string[], string[]]
  const fallback = groups.find((group) => group.name === 'default')
  if (!fallback) throw new Error(`${subnet.vpc_id} has no default security group`)
  const inForce = left.length > 0 ? left : [fallback.group_id]
  if (gone.length > 0) {
    const are = gone.length === 1 ? `its security group ${gone[0]} is` : `its security groups ${gone.join(', ')} are`
    notices.push(`${are} not in ${subnet.vpc_id} any more; it is in ${inForce.join(', ')}`)
  }
  return inForce
}

function noteElasticIps(notices: string[], { elasticIps }: BackedUpInterface): void {
  for (const address of elasticIps) {
    notices.push(`the Elastic IP ${address} is not given back; associate it again where it is wanted`)
  }
}
