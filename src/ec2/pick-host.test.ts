import { beforeEach, describe, expect, test } from 'vitest'
import { HOST_ID, hostOf, insertLayerRow, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { insertLayerCopy } from '../model/layer.ts'
import { importHost } from './import-input.ts'
import { pickHost, pickNode } from './pick-host.ts'

let world: TestStore
beforeEach(async () => {
  world = await openTestStore()
})

const zone = `${REGION}b`

describe('a new volume', () => {
  test('is made by a host of its zone, wherever what it is made of is', async () => {
    const found = await world.run(async (context) => {
      const image = await insertLayerRow(context)
      const snapshot = await insertLayerRow(context, { host_id: hostOf(`${REGION}a`) })
      return [await pickHost(context, zone, null), await pickHost(context, zone, image), await pickHost(context, zone, snapshot)]
    })
    expect(found).toEqual([hostOf(zone), hostOf(zone), hostOf(zone)])
  })

  test('is made by the host of the zone with the most room', async () => {
    const found = await world.run(async (context) => {
      const row = await context.db.selectFrom('hosts').selectAll().where('zone', '=', zone).executeTakeFirstOrThrow()
      await context.db.insertInto('hosts').values({ ...row, host_id: 'emptier' }).execute()
      await context.db.updateTable('hosts').set({ memory_mib_used: 1024 }).where('host_id', '=', row.host_id).execute()
      return pickHost(context, zone, null)
    })
    expect(found).toBe('emptier')
  })

  test('is made by nobody in a zone without hosts, or on another node than its data', async () => {
    const found = await world.run(async (context) => {
      const row = await context.db.selectFrom('hosts').selectAll().where('host_id', '=', HOST_ID).executeTakeFirstOrThrow()
      await context.db.insertInto('hosts').values({ ...row, host_id: 'elsewhere', node_id: 'elsewhere' }).execute()
      const layer = await insertLayerRow(context, { host_id: 'elsewhere' })
      return [await pickHost(context, zone, layer), await pickHost(context, `${REGION}z`, null)]
    })
    expect(found).toEqual([undefined, undefined])
  })
})

describe('what belongs to no zone', () => {
  test('is the node\'s: imports, NAT gateways, copies of snapshots', async () => {
    const found = await world.run(async (context) => {
      const layer = await insertLayerRow(context, { host_id: hostOf(zone) })
      const copy = await insertLayerCopy(context, layer, { account: context.account, kmsKeyId: null })
      const work = await context.db.selectFrom('work').select('host_id').where('id', '=', copy.layer_id).executeTakeFirst()
      return [await pickNode(context), await importHost(context), copy.host_id, work?.host_id]
    })
    expect(found).toEqual([HOST_ID, HOST_ID, HOST_ID, HOST_ID])
  })
})
