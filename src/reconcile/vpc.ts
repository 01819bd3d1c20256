import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import { instanceDoc } from '../model/instance.ts'
import { ensureSlot, releaseSlot } from '../model/slot.ts'
import type { GroupSpec, Network, PortSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import type { InterfaceTable, SecurityGroupRuleTable } from '../store/schema.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { DONE, type Reconciler } from './loop.ts'

/**
 * Owns the network of a VPC on this host, ports and rules included: the only caller of the network
 * driver. One run covers every change that came in before it.
 */
export function createVpcReconciler(options: {
  store: Store
  clock: Clock
  random: Random
  network: Network
  hostId: string
}): Reconciler {
  const { store, clock, random, network, hostId } = options
  return {
    async reconcile(vpcId) {
      const slot = await store.transaction('vpc.slot', (db) => ensureVpcSlot(db, random, hostId, vpcId))
      if (slot === undefined) {
        await network.removeVpc(vpcId)
        return DONE
      }
      const { spec, interfaces } = await store.read((db) => loadVpc(db, hostId, vpcId, slot))
      if (spec.ports.length === 0) await network.removeVpc(vpcId)
      else await network.syncVpc(spec)
      await store.transaction('vpc.synced', (db) => recordSynced(db, interfaces, hostId, clock.now()))
      return DONE
    },
  }
}

/** The VPC's slot while it has ports here or ever had; undefined when it is gone. */
async function ensureVpcSlot(db: Db, random: Random, hostId: string, vpcId: string): Promise<number | undefined> {
  const vpc = await db.selectFrom('vpcs').select('vpc_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  if (vpc) return ensureSlot(db, random, hostId, 'vpc', vpcId)
  await releaseSlot(db, hostId, 'vpc', vpcId)
  return undefined
}

async function loadVpc(
  db: Db,
  hostId: string,
  vpcId: string,
  slot: number,
): Promise<{ spec: VpcSpec; interfaces: InterfaceTable[] }> {
  const vpc = await db.selectFrom('vpcs').selectAll().where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
  const subnets = await db.selectFrom('subnets').selectAll().where('vpc_id', '=', vpcId).execute()
  const interfaces = await db
    .selectFrom('interfaces').selectAll().where('vpc_id', '=', vpcId).where('host_id', '=', hostId).execute()
  const wanted = interfaces.filter((each) => each.wanted === 1 && each.slot !== null)
  const groupIds = groupBy(
    await inBatches(wanted.map((each) => each.interface_id), (batch) =>
      db.selectFrom('interface_groups').selectAll().where('interface_id', 'in', batch).orderBy('position').execute()),
    (each) => each.interface_id,
  )
  const hopLimits = await loadHopLimits(db, wanted)
  const ports = wanted.map((each): PortSpec => ({
    interfaceId: each.interface_id, subnetId: each.subnet_id, slot: each.slot ?? 0, mac: each.mac,
    privateIp: each.private_ip, publicIp: each.public_ip,
    groupIds: (groupIds.get(each.interface_id) ?? []).map((group) => group.group_id),
    metadataHopLimit: hopLimits.get(each.instance_id ?? '') ?? 1,
  }))
  return {
    spec: {
      vpcId, slot, cidrs: [vpc.cidr], ports, groups: await loadGroups(db, vpcId),
      subnets: subnets.map((each) => ({ subnetId: each.subnet_id, cidr: each.cidr })),
    },
    interfaces,
  }
}

async function loadHopLimits(db: Db, interfaces: InterfaceTable[]): Promise<Map<string, number>> {
  const ids = interfaces.flatMap((each) => each.instance_id ?? [])
  const rows = await inBatches(ids, (batch) =>
    db.selectFrom('instances').select(['instance_id', 'doc']).where('instance_id', 'in', batch).execute())
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

/** Writes down what is in force now: ports that came up, and interfaces whose port is gone. */
async function recordSynced(
  db: Db,
  interfaces: InterfaceTable[],
  hostId: string,
  nowMs: number,
): Promise<void> {
  for (const each of interfaces) {
    if (each.wanted === 1 && each.ready === 0) {
      // Only if it is still wanted with the address that was synced.
      const updated = await db
        .updateTable('interfaces').set({ ready: 1, status: 'in-use' })
        .where('interface_id', '=', each.interface_id).where('wanted', '=', 1)
        .where('public_ip', each.public_ip === null ? 'is' : '=', each.public_ip)
        .executeTakeFirst()
      if (updated.numUpdatedRows > 0n && each.instance_id !== null) {
        await enqueue(db, { kind: 'instance', id: each.instance_id, hostId }, nowMs)
      }
    }
    if (each.status === 'removing') {
      await db.deleteFrom('tags').where('resource_id', '=', each.interface_id).execute()
      await db.deleteFrom('interfaces').where('interface_id', '=', each.interface_id).where('status', '=', 'removing').execute()
    }
  }
}
