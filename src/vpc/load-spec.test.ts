import { beforeEach, describe, expect, it } from 'vitest'
import { failZone, HOST_ID, insertInstance, insertInterface, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { newId } from '../core/ids.ts'
import { loadPorts, loadVpcSpec } from './load-spec.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

describe('the network of a zone that fails', () => {
  it.each(['unavailable', 'impaired'] as const)('is cut while it is %s: its ports and NAT gateways, and nobody else\'s', (state) =>
    test.run(async (context) => {
      const { db } = context
      const made = async (letter: string, slot: number) => {
        const instance = await insertInstance(context, { zone: `${REGION}${letter}` })
        return insertInterface(context, instance, { slot })
      }
      const interfaces = [await made('a', 1), await made('b', 2)]
      for (const each of [await made('a', 3), await made('b', 4)]) {
        const id = newId(context.random, 'nat')
        await db.updateTable('interfaces').set({ requester_id: id, instance_id: null }).where('interface_id', '=', each.interface_id).execute()
        await db.insertInto('nat_gateways').values({
          nat_gateway_id: id, account_id: each.account_id, vpc_id: each.vpc_id, subnet_id: each.subnet_id, interface_id: each.interface_id,
          host_id: HOST_ID, connectivity: 'private', state: 'available', created_ms: NOW_MS + (each.slot ?? 0), deleted_ms: null, doc: '{}',
        }).execute()
      }
      const vpcId = interfaces[0]!.vpc_id
      const cut = async () => {
        const { natGateways } = await loadVpcSpec(db, vpcId, HOST_ID, 1)
        return [...await loadPorts(db, interfaces), ...natGateways.toSorted((one, other) => one.slot - other.slot)]
          .filter((each) => each.isCut).map((each) => each.slot)
      }
      expect(await cut()).toEqual([])
      await failZone(db, `${REGION}b`, state)
      expect(await cut()).toEqual([2, 4])
      await failZone(db, `${REGION}b`, 'available')
      expect(await cut()).toEqual([])
    }))
})
