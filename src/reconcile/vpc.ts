import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import { instanceDoc } from '../model/instance.ts'
import { ensureSlot, releaseSlot } from '../model/slot.ts'
import type { GroupSpec, Network, PortSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import { createSerial } from '../network/serial.ts'
import { prepared, preparedIn } from '../store/prepared.ts'
import type { InterfaceTable, SecurityGroupRuleTable } from '../store/schema.ts'
import { groupBy, inBatches, inPages } from '../store/batch.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueueEquipped } from './equipped.ts'
import { DONE, recording, type Outcome, type Reconciler } from './loop.ts'

/** A VPC as this agent has put it in force; its ports by interface id. */
interface KnownVpc {
  spec: VpcSpec
  ports: Map<string, PortSpec>
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
 * driver. `vpc` reads everything of a VPC afresh, `ports` only the interfaces whose revision is not
 * in force yet, so that a launch costs the same among one port and among thousands. One run covers
 * every change that came in before it.
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
        if (vpc.ports.size > 0) known.set(vpcId, vpc)
        return outcome
      }),
    },
  }
}

async function syncWhole(
  { store, random, network, hostId, clock }: VpcReconcilerOptions,
  known: Map<string, KnownVpc>,
  vpcId: string,
): Promise<Outcome> {
  const slot = await store.transaction('vpc.slot', (db) => ensureVpcSlot(db, random, hostId, vpcId))
  if (slot === undefined) {
    await network.removeVpc(vpcId)
    return DONE
  }
  const vpc = await store.read((db) => loadVpc(db, vpcId, slot))
  const pending = await loadInterfaces({ store, hostId, clock }, vpc, vpcId)
  if (vpc.ports.size === 0) await network.removeVpc(vpcId)
  else await network.syncVpc(vpc.spec)
  if (vpc.ports.size > 0) known.set(vpcId, vpc)
  return synced({ hostId, clock }, pending)
}

const unsyncedOf = prepared((db, vpcId: string, hostId: string) =>
  db.selectFrom('interfaces').selectAll()
    .where('vpc_id', '=', vpcId).where('host_id', '=', hostId).whereRef('revision', '<>', 'synced_revision'))

async function syncPorts(
  { store, network, hostId, clock }: VpcReconcilerOptions,
  vpcId: string,
  { spec, ports }: KnownVpc,
): Promise<Outcome> {
  const { rows, wanted } = await store.read(async (db) => {
    const unsynced = await unsyncedOf(db, vpcId, hostId)
    return { rows: unsynced, wanted: await loadPorts(db, unsynced) }
  })
  if (rows.length === 0) return DONE
  const isWanted = new Set(wanted.map((port) => port.interfaceId))
  const removed = rows.map((each) => each.interface_id).filter((id) => !isWanted.has(id))
  for (const id of removed) ports.delete(id)
  for (const port of wanted) ports.set(port.interfaceId, port)
  if (ports.size === 0) await network.removeVpc(vpcId)
  else await network.syncVpc(spec, { ports: wanted, removed })
  return synced({ hostId, clock }, rows)
}

/** The VPC's slot while it has ports here or ever had; undefined when it is gone. */
async function ensureVpcSlot(db: Db, random: Random, hostId: string, vpcId: string): Promise<number | undefined> {
  const vpc = await db.selectFrom('vpcs').select('vpc_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  if (vpc) return ensureSlot(db, random, hostId, 'vpc', vpcId)
  await releaseSlot(db, hostId, 'vpc', vpcId)
  return undefined
}

/** A VPC without its ports yet. */
async function loadVpc(db: Db, vpcId: string, slot: number): Promise<KnownVpc> {
  const vpc = await db.selectFrom('vpcs').selectAll().where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
  const subnets = await db.selectFrom('subnets').selectAll().where('vpc_id', '=', vpcId).execute()
  const ports = new Map<string, PortSpec>()
  const groups = await loadGroups(db, vpcId)
  return {
    ports,
    spec: {
      vpcId, slot, cidrs: [vpc.cidr], groups,
      subnets: subnets.map((each) => ({ subnetId: each.subnet_id, cidr: each.cidr })),
      // Most callers of a driver that takes changes never ask for all of them.
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

const groupsOf = preparedIn((db, ids) =>
  db.selectFrom('interface_groups').selectAll().where('interface_id', 'in', ids).orderBy('position'))
const docsOf = preparedIn((db, ids) => db.selectFrom('instances').select(['instance_id', 'doc']).where('instance_id', 'in', ids))

/** The ports of those interfaces that should have one. */
async function loadPorts(db: Db, interfaces: InterfaceTable[]): Promise<PortSpec[]> {
  const wanted = interfaces.filter((each) => each.wanted === 1 && each.slot !== null)
  const groupIds = groupBy(
    await groupsOf(db, wanted.map((each) => each.interface_id)),
    (each) => each.interface_id,
  )
  const hopLimits = await loadHopLimits(db, wanted)
  return wanted.map((each): PortSpec => ({
    interfaceId: each.interface_id, subnetId: each.subnet_id, slot: each.slot ?? 0, mac: each.mac,
    privateIp: each.private_ip, publicIp: each.public_ip,
    groupIds: (groupIds.get(each.interface_id) ?? []).map((group) => group.group_id),
    metadataHopLimit: hopLimits.get(each.instance_id ?? '') ?? 1,
  }))
}

async function loadHopLimits(db: Db, interfaces: InterfaceTable[]): Promise<Map<string, number>> {
  const rows = await docsOf(db, interfaces.flatMap((each) => each.instance_id ?? []))
  return new Map(rows.map((row) => [row.instance_id, instanceDoc(row).metadataOptions.httpPutResponseHopLimit]))
}

async function loadGroups(db: Db, vpcId: string): Promise<GroupSpec[]> {
  const groups = await db.selectFrom('security_groups').select('group_id').where('vpc_id', '=', vpcId).execute()
  const rules = groupBy(
    await inBatches(groups.map((group) => group.group_id), (batch) =>
      db.selectFrom('security_group_rules').selectAll().where('group_id', 'in', batch).orderBy('rule_id').execute()),
    (rule) => rule.group_id,
  )
  return groups.map(({ group_id: groupId }) => {
    const own = rules.get(groupId) ?? []
    return {
      groupId,
      ingress: own.filter((rule) => rule.is_egress === 0).map(toRuleSpec),
      egress: own.filter((rule) => rule.is_egress === 1).map(toRuleSpec),
    }
  })
}

function toRuleSpec(rule: SecurityGroupRuleTable): RuleSpec {
  const hasPorts = ['tcp', 'udp', 'icmp'].includes(rule.protocol)
  return {
    protocol: rule.protocol,
    fromPort: hasPorts ? rule.from_port : null,
    toPort: hasPorts ? rule.to_port : null,
    peer: rule.cidr === null ? { groupId: rule.peer_group_id ?? '' } : { cidr: rule.cidr },
  }
}

const portInForce = prepared((db, interfaceId: string, revision: number) =>
  db.updateTable('interfaces').set((eb) => ({ ready: 1, status: 'in-use', synced_revision: eb.ref('revision') }))
    .where('interface_id', '=', interfaceId).where('revision', '=', revision).returning('interface_id'))

/**
 * What is in force now, to be written down: ports that came up, and interfaces whose port is gone. An
 * interface that changed again meanwhile stays due.
 */
function synced({ hostId, clock }: Pick<VpcReconcilerOptions, 'hostId' | 'clock'>, rows: InterfaceTable[]): Outcome {
  if (rows.length === 0) return DONE
  return recording('vpc.synced', async (db) => {
    for (const each of rows) {
      if (each.status === 'removing') {
        await db.deleteFrom('tags').where('resource_id', '=', each.interface_id).execute()
        await db.deleteFrom('interfaces').where('interface_id', '=', each.interface_id).execute()
      } else if (each.wanted === 1) {
        const updated = await portInForce(db, each.interface_id, each.revision)
        if (updated.length > 0 && each.instance_id !== null && each.ready === 0) {
          await enqueueEquipped(db, each.instance_id, hostId, clock.now())
        }
      } else {
        await db
          .updateTable('interfaces').set({ synced_revision: each.revision })
          .where('interface_id', '=', each.interface_id).where('revision', '=', each.revision).execute()
      }
    }
  })
}
