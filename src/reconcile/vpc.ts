import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import { ensureSlot, releaseSlot } from '../model/slot.ts'
import { ensureVpcObjects } from '../model/vpc-objects.ts'
import type { GroupSpec, Network, PortSpec, VpcSpec } from '../network/driver.ts'
import { createSerial } from '../network/serial.ts'
import { inPages } from '../store/batch.ts'
import { prepared } from '../store/prepared.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { loadGroups, loadPorts, loadVpcSpec } from '../vpc/load-spec.ts'
import { synced, type Synced } from './vpc-synced.ts'
import { DONE, type Outcome, type Reconciler } from './loop.ts'

/** A VPC as this agent has put it in force; its ports and groups by id. */
interface KnownVpc {
  spec: VpcSpec
  ports: Map<string, PortSpec>
  groups: Map<string, GroupSpec>
}

export interface VpcReconcilerOptions {
  store: Store
  clock: Clock
  random: Random
  network: Network
  hostId: string
}

/**
 * Owns the network of VPCs on this host, ports and rules included: the only caller of the network
 * driver. `vpc` reads everything of a VPC afresh; `ports` only the interfaces and security groups whose
 * revision is not in force yet, so that a launch or a rule costs the same among one port and among
 * thousands. One run covers every change that came in before it.
 */
export function createVpcReconcilers(options: VpcReconcilerOptions): { vpc: Reconciler; ports: Reconciler } {
  const known = new Map<string, KnownVpc>()
  // The two share what they know of a VPC, and so take turns.
  const serial = createSerial()
  const whole = async (vpcId: string) => {
    known.delete(vpcId)
    return syncWhole(options, known, vpcId)
  }
  return {
    vpc: { reconcile: (vpcId) => serial(vpcId, () => whole(vpcId)) },
    ports: {
      reconcile: (vpcId) => serial(vpcId, async () => {
        const vpc = known.get(vpcId)
        if (!vpc) return whole(vpcId)
        // What became of it is unknown after a failure: the next run reads everything.
        known.delete(vpcId)
        const outcome = await syncPorts(options, vpcId, vpc)
        // Something that no change of ports covers.
        if (outcome === undefined) return whole(vpcId)
        if (isNeeded(vpc)) known.set(vpcId, vpc)
        return outcome
      }),
    },
  }
}

/**
 * Whether the spec knows of what the interface's row says. Rows of interfaces are read after the spec:
 * a NAT gateway that came or went in between is due still.
 */
function agrees({ spec }: KnownVpc, each: InterfaceTable): boolean {
  if (each.requester_id === null) return true
  return spec.natGateways.some((gateway) => gateway.interfaceId === each.interface_id) === (each.wanted === 1)
}

/** Whether anything of the VPC has to be on this host. */
function isNeeded({ spec, ports }: KnownVpc): boolean {
  return ports.size > 0 || spec.natGateways.length > 0
}

async function syncWhole(
  { store, random, network, hostId, clock }: VpcReconcilerOptions,
  known: Map<string, KnownVpc>,
  vpcId: string,
): Promise<Outcome> {
  const slot = await store.transaction('vpc.slot', (db) => ensureVpcSlots(db, { random, hostId, nowMs: clock.now() }, vpcId))
  if (slot === undefined) {
    await network.removeVpc(vpcId)
    return DONE
  }
  const { vpc, changed } = await store.read(async (db) => ({
    vpc: knownVpc(await loadVpcSpec(db, vpcId, hostId, slot)), changed: await unsyncedGroupsOf(db, vpcId),
  }))
  const pending = await loadInterfaces({ store, hostId, clock }, vpc, vpcId)
  if (isNeeded(vpc)) await network.syncVpc(vpc.spec)
  else await network.removeVpc(vpcId)
  if (isNeeded(vpc)) known.set(vpcId, vpc)
  const interfaces = pending.filter((each) => agrees(vpc, each))
  return recordSynced({ hostId, clock }, { vpcId, interfaces, groups: changed })
}

function recordSynced({ hostId, clock }: Pick<VpcReconcilerOptions, 'hostId' | 'clock'>, done: Synced): Outcome {
  return synced({ hostId, nowMs: () => clock.now() }, done)
}

const unsyncedOf = prepared((db, vpcId: string, hostId: string) =>
  db.selectFrom('interfaces').selectAll()
    .where('vpc_id', '=', vpcId).where('host_id', '=', hostId).whereRef('revision', '<>', 'synced_revision'))

const unsyncedGroupsOf = prepared((db, vpcId: string) =>
  db.selectFrom('security_groups').select(['group_id', 'revision'])
    .where('vpc_id', '=', vpcId).whereRef('revision', '<>', 'synced_revision').orderBy('group_id'))

async function syncPorts(
  { store, network, hostId, clock }: VpcReconcilerOptions,
  vpcId: string,
  vpc: KnownVpc,
): Promise<Outcome | undefined> {
  const { rows, wanted, changed, groups } = await store.read(async (db) => {
    const unsynced = await unsyncedOf(db, vpcId, hostId)
    const unsyncedGroups = await unsyncedGroupsOf(db, vpcId)
    return {
      rows: unsynced, wanted: await loadPorts(db, unsynced), changed: unsyncedGroups,
      groups: await loadGroups(db, vpcId, unsyncedGroups.map((each) => each.group_id)),
    }
  })
  if (rows.length === 0 && changed.length === 0) return DONE
  const subnetIds = new Set(vpc.spec.subnets.map((each) => each.subnetId))
  // NAT gateways come with the whole VPC, and a port may be in a subnet that is newer than what is known.
  if (rows.some((each) => each.requester_id !== null || (each.wanted === 1 && !subnetIds.has(each.subnet_id)))) return undefined
  const isWanted = new Set(wanted.map((port) => port.interfaceId))
  const removed = rows.map((each) => each.interface_id).filter((id) => !isWanted.has(id))
  for (const id of removed) vpc.ports.delete(id)
  for (const port of wanted) vpc.ports.set(port.interfaceId, port)
  for (const group of groups) vpc.groups.set(group.groupId, group)
  if (isNeeded(vpc)) await network.syncVpc(vpc.spec, { ports: wanted, removed, groups })
  else await network.removeVpc(vpcId)
  return recordSynced({ hostId, clock }, { vpcId, interfaces: rows, groups: changed })
}

/**
 * The VPC's slot while it has ports here or ever had, undefined when it is gone; with the slots of its
 * peerings. Peers get their slot here too, since either side may come first.
 */
async function ensureVpcSlots(
  db: Db,
  { random, hostId, nowMs }: { random: Random; hostId: string; nowMs: number },
  vpcId: string,
): Promise<number | undefined> {
  const vpc = await db
    .selectFrom('vpcs').select(['vpc_id', 'account_id', 'is_default']).where('vpc_id', '=', vpcId).executeTakeFirst()
  const peerings = await db
    .selectFrom('vpc_peerings').selectAll()
    .where((eb) => eb.or([eb('requester_vpc_id', '=', vpcId), eb('accepter_vpc_id', '=', vpcId)])).execute()
  // Those of a VPC that is gone have ended with it.
  for (const peering of peerings) {
    if (peering.status !== 'active') await releaseSlot(db, hostId, 'vpc', peering.peering_id)
  }
  if (!vpc) {
    await releaseSlot(db, hostId, 'vpc', vpcId)
    return undefined
  }
  // Homes of an earlier version have VPCs without route tables.
  await ensureVpcObjects({ db, random, nowMs }, vpc)
  for (const peering of peerings.filter(({ status }) => status === 'active')) {
    for (const ownerId of [peering.peering_id, peering.requester_vpc_id, peering.accepter_vpc_id]) {
      await ensureSlot(db, random, hostId, 'vpc', ownerId)
    }
  }
  return ensureSlot(db, random, hostId, 'vpc', vpcId)
}

/** A VPC without its ports yet. */
function knownVpc(spec: Omit<VpcSpec, 'ports'>): KnownVpc {
  const ports = new Map<string, PortSpec>()
  const groups = new Map(spec.groups.map((group) => [group.groupId, group]))
  return {
    ports, groups,
    spec: {
      ...spec,
      // Most callers of a driver that takes changes never ask for all of them.
      get groups() {
        return [...groups.values()]
      },
      get ports() {
        return [...ports.values()]
      },
    },
  }
}

/**
 * Adds the ports of all interfaces of the VPC on this host, and answers the interfaces that are not
 * recorded as in force. In pages, between which other work has its turn: each interface is as it
 * was at its revision, and a later one makes it due again.
 */
async function loadInterfaces(
  { store, hostId, clock }: Pick<VpcReconcilerOptions, 'store' | 'hostId' | 'clock'>,
  { ports }: KnownVpc,
  vpcId: string,
): Promise<InterfaceTable[]> {
  const pending: InterfaceTable[] = []
  for await (const rows of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('interfaces').selectAll().where('vpc_id', '=', vpcId).where('private_ip', '>', after)
      .where('host_id', '=', hostId).orderBy('private_ip').limit(limit).execute(), (row) => row.private_ip)) {
    for (const port of await store.read((db) => loadPorts(db, rows))) ports.set(port.interfaceId, port)
    pending.push(...rows.filter((each) => each.revision !== each.synced_revision || each.ready !== each.wanted))
  }
  return pending
}
