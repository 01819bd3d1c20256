import type { Filter, Reservation } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertInterface, insertVolume, NOW_MS, openTestStore, REGION, type TestStore, type PlacedInstance } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { Context } from './context.ts'
import { readInstances } from './describe-instances.ts'
import { findCandidates, MOST_CANDIDATES } from './instance-candidates.ts'
import { CHUNK, searchInstances } from './instance-search.ts'
import type { ReadContext } from './operation.ts'
import { insertTags } from './tags.ts'

let test: TestStore
let rows: PlacedInstance[]

/** More than one step of a walk looks at, in launches of three, two of which share each millisecond. */
const COUNT = 1205

beforeEach(async () => {
  test = await openTestStore()
  rows = await test.run(async (context) => {
    const all: PlacedInstance[] = []
    for (let index = 0; index < COUNT; index++) {
      const launch = Math.floor(index / 3)
      all.push(await insertInstance(context, {
        reservation_id: `r-${String(launch).padStart(17, '0')}`, launch_index: index % 3, launch_ms: NOW_MS,
        created_ms: NOW_MS + Math.floor(launch / 2), instance_type: index % 400 === 7 ? 't3.nano' : 't3.micro',
      }))
    }
    return all
  })
})

/** As the dispatcher makes it, counting the snapshots. */
function reading(): ReadContext & { snapshots: number } {
  const context = {
    account: DEFAULT_ACCOUNT, region: REGION, regions: [REGION], zones: [], placement: 'spread' as const, nowMs: NOW_MS, random: test.random, requestId: 'r', accessKeyId: null,
    publicPool: { base: 0, prefix: 24 }, snapshots: 0,
    read: <T>(body: (db: Context['db']) => Promise<T>) => {
      context.snapshots++
      return test.store.read(body)
    },
  }
  return context
}

async function reservationsOf(listed: Awaited<ReturnType<typeof readInstances>>): Promise<Reservation[]> {
  if (Array.isArray(listed.Reservations)) return listed.Reservations
  const all: Reservation[] = []
  for await (const page of listed.Reservations) all.push(...page)
  return all
}

const idsIn = (reservations: Reservation[]) =>
  reservations.flatMap((each) => each.Instances ?? []).map((each) => each.InstanceId)

async function found(Filters: Filter[]) {
  return idsIn(await reservationsOf(await readInstances(reading(), { Filters })))
}

describe('a full listing', () => {
  it('comes in many snapshots, every instance once, in order, launches together', async () => {
    const context = reading()
    const reservations = await reservationsOf(await readInstances(context, {}))
    expect(idsIn(reservations)).toEqual(rows.map((row) => row.instance_id))
    expect(reservations).toHaveLength(Math.ceil(COUNT / 3))
    expect(new Set(reservations.map((each) => each.ReservationId)).size).toBe(reservations.length)
    expect(context.snapshots).toBeGreaterThanOrEqual(COUNT / CHUNK)
  })

  it('keeps a launch together that is larger than a step', async () => {
    await test.run(({ db }) => db.updateTable('instances').set({ reservation_id: 'r-1', created_ms: NOW_MS }).execute())
    const reservations = await reservationsOf(await readInstances(reading(), {}))
    expect(reservations.map((each) => each.Instances?.length)).toEqual([COUNT])
  })

  it('shows what is there all the time once, whatever comes and goes meanwhile', async () => {
    const seen: string[] = []
    let step = 0
    for await (const { found } of searchInstances((body) => test.store.read(body), {
      account: DEFAULT_ACCOUNT, region: REGION, ids: undefined, filters: [], after: undefined,
    })) {
      seen.push(...found.map((item) => item.row.instance_id))
      if (step++ > 0) continue
      await test.run(async (context) => {
        await insertInstance(context, { created_ms: NOW_MS - 1 })
        await context.db.deleteFrom('instances').where('instance_id', '=', rows.at(-1)?.instance_id ?? '').execute()
        await context.db.updateTable('instances').set({ state: 'stopped', launch_ms: NOW_MS + 5 }).execute()
      })
    }
    expect(seen).toEqual(rows.slice(0, -1).map((row) => row.instance_id))
  })

  it('of pages has every instance once, and each page is one', async () => {
    const seen: (string | undefined)[] = []
    let NextToken: string | undefined
    do {
      const listed = await readInstances(reading(), { MaxResults: 333, NextToken })
      const ids = idsIn(await reservationsOf(listed))
      expect(ids.length).toBeLessThanOrEqual(333)
      seen.push(...ids)
      NextToken = listed.NextToken
    } while (NextToken)
    expect(seen).toEqual(rows.map((row) => row.instance_id))
  })
})

describe('filters over many instances', () => {
  it('find the few that match', async () => {
    const expected = rows.filter((row) => row.instance_type === 't3.nano').map((row) => row.instance_id)
    expect(await found([{ Name: 'instance-type', Values: ['t3.nano'] }])).toEqual(expected)
    expect(await found([{ Name: 'instance-type', Values: ['*.nano'] }])).toEqual(expected)
    expect(await found([{ Name: 'instance-type', Values: ['m5.large'] }])).toEqual([])
    expect(await found([{ Name: 'instance-type', Values: ['t3.nano'] }, { Name: 'launch-index', Values: ['2'] }]))
      .toEqual(rows.filter((row) => row.instance_type === 't3.nano' && row.launch_index === 2).map((row) => row.instance_id))
    expect(await found([{ Name: 'launch-index', Values: ['1'] }])).toHaveLength(Math.floor((COUNT + 1) / 3))
  })

  it('find tags that many have, and tags that few have', async () => {
    await test.run(async ({ db, account }) => {
      for (const [index, row] of rows.entries()) {
        await insertTags(db, account, 'instance', row.instance_id, [
          { key: 'all', value: 'x' }, ...(index % 500 === 3 ? [{ key: 'some', value: `v${index}` }] : []),
        ])
      }
    })
    const some = [3, 503, 1003].map((index) => rows[index]?.instance_id)
    expect(await found([{ Name: 'tag:all', Values: ['x'] }])).toHaveLength(COUNT)
    expect(await found([{ Name: 'tag:all', Values: ['y'] }])).toEqual([])
    expect(await found([{ Name: 'tag:some', Values: ['v503'] }])).toEqual([some[1]])
    expect(await found([{ Name: 'tag:some', Values: ['v*'] }])).toEqual(some)
    expect(await found([{ Name: 'tag-key', Values: ['some'] }])).toEqual(some)
    expect(await found([{ Name: 'tag-value', Values: ['v3', 'v1003'] }])).toEqual([some[0], some[2]])
    expect(await found([{ Name: 'tag:all', Values: ['x'] }, { Name: 'tag-key', Values: ['some'] }])).toEqual(some)
    await test.run(async ({ db, account }) => {
      expect(await findCandidates(db, account, [{ Name: 'tag:all', Values: ['x'] }])).toBeUndefined()
      expect(COUNT).toBeGreaterThan(MOST_CANDIDATES)
      expect(await findCandidates(db, account, [
        { Name: 'tag:all', Values: ['x'] }, { Name: 'tag:some', Values: ['v503'] },
      ])).toEqual([some[1]])
    })
  })

  it('find by what belongs to an instance', async () => {
    const { port, volume } = await test.run(async (context) => {
      const [row] = rows.slice(700)
      if (!row) throw new Error('there is no such row')
      return {
        port: await insertInterface(context, row, { private_ip: '172.31.0.10', public_ip: '198.18.0.7', mac: '0a:00:00:00:00:01' }),
        volume: await insertVolume(context, row),
      }
    })
    const filters: Record<string, string> = {
      'private-ip-address': '172.31.0.10', 'ip-address': '198.18.0.7', 'network-interface.mac-address': '0a:00:00:00:00:01',
      'network-interface.network-interface-id': port.interface_id, 'block-device-mapping.volume-id': volume.volume_id,
      'private-dns-name': 'ip-172-31-0-10.ec2.internal',
    }
    for (const [Name, value] of Object.entries(filters)) {
      expect([Name, await found([{ Name, Values: [value] }])]).toEqual([Name, [rows[700]?.instance_id]])
      expect([Name, await found([{ Name, Values: ['other'] }])]).toEqual([Name, []])
    }
  })

  it('are checked before anything is answered', async () => {
    await expect(readInstances(reading(), { Filters: [{ Name: 'nonsense', Values: ['x'] }] })).rejects.toMatchObject({
      code: 'InvalidParameterValue',
    })
    const missing = [...rows.map((row) => row.instance_id), 'i-0123456789abcdef0']
    await expect(readInstances(reading(), { InstanceIds: missing })).rejects.toMatchObject({ code: 'InvalidInstanceID.NotFound' })
  })
})

describe('many ids', () => {
  it('are answered in order, once', async () => {
    const ids = rows.map((row) => row.instance_id)
    const listed = await readInstances(reading(), { InstanceIds: [...ids.toReversed(), ids[0] ?? ''] })
    expect(idsIn(await reservationsOf(listed))).toEqual(ids)
  })
})
