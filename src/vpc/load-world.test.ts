import { beforeEach, describe, expect, it } from 'vitest'
import { defaultNetwork, failZone, insertInstance, insertInterface, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import type { Context } from '../ec2/context.ts'
import { ensureVpcObjects } from '../model/vpc-objects.ts'
import { loadWorld, vpcOfPublicAddress, withPeers } from './load-world.ts'
import { reach } from './reach.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const PEER = 'vpc-0123456789abcdef0'

/** A VPC that is peered with the default one, each with one stopped instance and a route to the other. */
async function peered(context: Context) {
  const { db, account, nowMs } = context
  const { subnet, groupId } = await defaultNetwork(context)
  const common = { account_id: account, created_ms: nowMs }
  await db.insertInto('vpcs').values({ ...common, vpc_id: PEER, cidr: '10.9.0.0/16', is_default: 0, state: 'available', doc: '{}' }).execute()
  await db.insertInto('subnets').values({
    ...common, subnet_id: 'subnet-0123456789abcdef0', vpc_id: PEER, zone: `${REGION}a`, cidr: '10.9.0.0/20', default_for_az: 0,
    map_public_ip: 0, state: 'available', doc: '{}',
  }).execute()
  await ensureVpcObjects(context, { vpc_id: PEER, account_id: account, is_default: 0 })
  await db.insertInto('vpc_peerings').values({
    ...common, peering_id: 'pcx-0123456789abcdef0', requester_vpc_id: subnet.vpc_id, accepter_account_id: account, accepter_vpc_id: PEER,
    status: 'active', status_message: 'Active', expires_ms: 0, ended_ms: null, doc: '{}',
  }).execute()
  for (const [vpcId, destination] of [[subnet.vpc_id, '10.9.0.0/16'], [PEER, '172.31.0.0/16']] as const) {
    const main = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
    await db.insertInto('routes').values({
      ...common, route_table_id: main.route_table_id, destination, target_kind: 'peering', target_id: 'pcx-0123456789abcdef0',
    }).execute()
  }
  const near = await insertInterface(
    context, await insertInstance(context, { state: 'stopped' }), { private_ip: '172.31.0.10', public_ip: '198.18.0.7', wanted: 0 })
  const far = await insertInterface(context, await insertInstance(context, { state: 'stopped' }), {
    private_ip: '10.9.0.10', vpc_id: PEER, subnet_id: 'subnet-0123456789abcdef0', wanted: 0,
  })
  return { vpcId: subnet.vpc_id, groupId, near: near.interface_id, far: far.interface_id }
}

describe('the VPCs that a packet may pass', () => {
  it('are loaded as if their instances ran, with peerings that no host has yet', async () => {
    await test.run(async (context) => {
      const { vpcId, near, far } = await peered(context)
      const vpcs = await loadWorld(context.db, [PEER, vpcId, vpcId])
      expect(vpcs.map((vpc) => vpc.ports.map((port) => port.interfaceId)).flat().toSorted()).toEqual([near, far].toSorted())
      const verdict = reach({ vpcs, publicPool: null }, {
        source: { interfaceId: near }, destination: '10.9.0.10', protocol: 6, destinationPort: 22,
      })
      expect(verdict.forward.map((hop) => hop.kind)).toContain('peering')
      // Its interface is in a group of the other VPC, of which it knows nothing.
      expect(verdict.obstacles.map((each) => each.code)).toEqual(['ENI_SG_RULES_MISMATCH'])
    })
  })

  it('are as they were when a zone fails, which says nothing of what the rules let pass', async () => {
    await test.run(async (context) => {
      const { vpcId, near } = await peered(context)
      const judge = async () => {
        const vpcs = await loadWorld(context.db, [vpcId, PEER])
        return reach({ vpcs, publicPool: null }, { source: { interfaceId: near }, destination: '10.9.0.10', protocol: 6, destinationPort: 22 })
      }
      const before = await judge()
      await failZone(context.db, `${REGION}a`)
      expect(await judge()).toEqual(before)
    })
  })

  it('are those of both ends and their peers, and of who has a public address', async () => {
    await test.run(async (context) => {
      const { vpcId } = await peered(context)
      expect((await withPeers(context.db, [vpcId])).toSorted()).toEqual([vpcId, PEER].toSorted())
      expect(await vpcOfPublicAddress(context.db, '198.18.0.7')).toBe(vpcId)
      expect(await vpcOfPublicAddress(context.db, '198.18.0.8')).toBeUndefined()
      await context.db.updateTable('vpc_peerings').set({ status: 'deleted', ended_ms: NOW_MS }).execute()
      expect(await withPeers(context.db, [vpcId])).toEqual([vpcId])
      const [vpc] = await loadWorld(context.db, [vpcId])
      expect(vpc?.routeTables[0]?.routes).toContainEqual({ destination: '10.9.0.0/16', target: { kind: 'blackhole' } })
    })
  })
})
