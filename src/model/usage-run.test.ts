import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { sealUsage } from '../market/seal-usage.ts'
import type { InstanceTable } from '../store/schema.ts'
import { moveInstance, STATE_REASONS, type InstanceDoc, type InstanceState } from './instance.ts'
import { meterRunning, usageRunDoc } from './usage-run.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
let cloud: TestStore
beforeEach(async () => {
  cloud = await openTestStore()
})
afterEach(() => cloud.store.close())

const add = (change: Partial<InstanceTable> = {}) => cloud.run((context) => insertInstance(context, { state: 'pending', ...change } as object))

/** Moves it there at so many milliseconds from the beginning. */
const move = (row: InstanceTable, to: InstanceState, atMs: number, doc: Partial<InstanceDoc> = {}) => cloud.run(async ({ db }) => {
  const current = await db.selectFrom('instances').selectAll().where('instance_id', '=', row.instance_id).executeTakeFirstOrThrow()
  await moveInstance(db, current, to, NOW_MS + atMs, doc)
})

const runs = () => cloud.store.read(async (db) => {
  const rows = await db.selectFrom('usage_runs').selectAll().orderBy('from_ms').execute()
  return rows.map((row) => ({ ...row, from: row.from_ms - NOW_MS, until: row.until_ms === null ? null : row.until_ms - NOW_MS, doc: usageRunDoc(row) }))
})
const stretches = async () => (await runs()).map(({ from, until }) => [from, until])

describe('the meter of an instance', () => {
  test('runs while it is running, and anew after each start', async () => {
    const row = await add()
    await move(row, 'running', 1000)
    expect(await stretches()).toEqual([[1000, null]])
    await move(row, 'stopping', 9000)
    expect(await stretches()).toEqual([[1000, 9000]])
    await move(row, 'stopped', 20_000)
    await move(row, 'pending', 30_000)
    await move(row, 'running', 40_000)
    await move(row, 'shutting-down', 50_000)
    await move(row, 'terminated', 60_000)
    expect(await stretches()).toEqual([[1000, 9000], [40_000, 50_000]])
  })

  test('runs on while it is stopping to be hibernated', async () => {
    const row = await add()
    await move(row, 'running', 0)
    await move(row, 'stopping', 1000, { hibernate: true })
    expect(await stretches()).toEqual([[0, null]])
    await move(row, 'stopped', 5000, { hibernate: false })
    expect(await stretches()).toEqual([[0, 5000]])
  })

  test('does not begin for a launch that fails', async () => {
    const row = await add()
    await move(row, 'terminated', 1000)
    expect(await stretches()).toEqual([])
  })

  test('notes what the instance was: its type, price, image, zone, and at the end its tags', async () => {
    const row = await add()
    await move(row, 'running', 0)
    await cloud.run(({ db, account }) => db.insertInto('tags')
      .values({ account_id: account, resource_type: 'instance', resource_id: row.instance_id, key: 'Name', value: 'web' }).execute())
    await move(row, 'stopping', 1000)
    expect(await runs()).toMatchObject([{
      instance_id: row.instance_id, account_id: row.account_id, zone: 'us-east-1a', instance_type: 't3.micro', lifecycle: 'on-demand',
      doc: { imageId: row.image_id, onDemandMicroUsd: 10_400, maxPriceMicroUsd: null, tags: { Name: 'web' }, isInterrupted: false },
    }])
  })

  const interruption = { stateReason: { code: 'Server.SpotInstanceShutdown', message: 'Server.SpotInstanceShutdown: …' } }
  test.each([
    ['the market', interruption, true],
    ['its user', { stateReason: STATE_REASONS.userHibernate }, false],
  ])('notes that it was ended by %s, whatever its reason says later', async (_whom, change, isInterrupted) => {
    const row = await add({ lifecycle: 'spot' })
    await move(row, 'running', 0)
    await move(row, 'stopping', 1000, { hibernate: true, ...change })
    await move(row, 'stopped', 2000, { hibernate: false, stateReason: STATE_REASONS.userHibernate })
    expect(await runs()).toMatchObject([{ lifecycle: 'spot', doc: { isInterrupted } }])
  })

  test('starts for what has run since before there were meters', async () => {
    const row = await add({ state: 'running' })
    await cloud.run(({ db }) => meterRunning(db, NOW_MS + 7))
    await cloud.run(({ db }) => meterRunning(db, NOW_MS + 9))
    expect(await stretches()).toEqual([[7, null]])
    await move(row, 'stopping', 10)
    expect(await stretches()).toEqual([[7, 10]])
  })
})

describe('the books', () => {
  const seal = (atMs: number) => sealUsage(cloud.store, 'us-east-1', NOW_MS + atMs)

  test('have all that an ended run has cost, and the days that are over of one that goes on', async () => {
    const [ended, goesOn] = [await add(), await add()]
    await move(ended, 'running', 0)
    await move(ended, 'stopping', 60 * MINUTE_MS)
    await move(goesOn, 'running', 1)
    await seal(61 * MINUTE_MS)
    expect(await runs()).toMatchObject([
      { unsealed_from_ms: null, doc: { sealed: [{ day: '2026-01-01', billedMs: 60 * MINUTE_MS, costMicroUsd: 10_400 }] } },
      { unsealed_from_ms: NOW_MS + 1, doc: { sealed: [] } },
    ])
    await seal(DAY_MS + MINUTE_MS)
    const [, second] = await runs()
    expect(second).toMatchObject({ unsealed_from_ms: NOW_MS + DAY_MS, doc: { sealed: [{ day: '2026-01-01', billedMs: DAY_MS - 1 }] } })
    await seal(DAY_MS + 2 * MINUTE_MS)
    expect((await runs())[1]).toEqual(second)
  })

  test('forget what ended more than 13 months ago', async () => {
    const row = await add()
    await move(row, 'running', 0)
    await move(row, 'stopping', 1000)
    await seal(390 * DAY_MS)
    expect(await stretches()).toHaveLength(1)
    await seal(430 * DAY_MS)
    expect(await stretches()).toEqual([])
  })

  test('are closed for many runs, in several goes', async () => {
    for (let each = 0; each < 410; each++) {
      await cloud.run(({ db }) => db.insertInto('usage_runs').values({
        instance_id: `i-${each}`, from_ms: NOW_MS, until_ms: NOW_MS + each, account_id: '000000000000', zone: 'us-east-1a', instance_type: 't3.micro',
        lifecycle: 'on-demand', unsealed_from_ms: NOW_MS, doc: JSON.stringify({ imageId: 'ami-1', onDemandMicroUsd: 600, maxPriceMicroUsd: null, tags: {}, isInterrupted: false, sealed: [] }),
      }).execute())
    }
    await seal(1000)
    expect((await runs()).every((run) => run.unsealed_from_ms === null && run.doc.sealed[0]?.costMicroUsd === 10)).toBe(true)
  })
})
