import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { readPeriod } from '../billing/bill.ts'
import { moveInstance } from '../model/instance.ts'
import { ensureMarket } from '../model/spot-market.ts'
import { sealUsage } from '../market/seal-usage.ts'
import { formatBill, formatCsv, readBill, readGrouping, usd } from './bill.ts'

const HOUR_MS = 3_600_000
let cloud: TestStore
beforeEach(async () => {
  cloud = await openTestStore()
  await cloud.run(({ db, random }) => ensureMarket(db, { region: REGION, random, nowMs: NOW_MS }))
})
afterEach(() => cloud.store.close())

/** Runs from the beginning for so many hours, or on and on. */
const run = (lifecycle: 'on-demand' | 'spot', name: string, hours: number | null) => cloud.run(async (context) => {
  const { db, account } = context
  const row = await insertInstance(context, { state: 'pending', lifecycle })
  await db.insertInto('tags').values({ account_id: account, resource_type: 'instance', resource_id: row.instance_id, key: 'Name', value: name }).execute()
  const running = await moveInstance(db, row, 'running', NOW_MS)
  if (running && hours !== null) await moveInstance(db, running, 'stopping', NOW_MS + hours * HOUR_MS)
  return row.instance_id
})
const bill = (by = 'instance', nowMs = NOW_MS + 10 * HOUR_MS) =>
  readBill(cloud.store, REGION, { by: readGrouping(by), period: readPeriod({}, nowMs) }, nowMs)

describe('hearth bill', () => {
  test('tells what ran, until now where it still does, and what spot has saved', async () => {
    const [web, job] = [await run('on-demand', 'web, "old"', 10), await run('spot', 'job', null)]
    const report = await bill()
    expect(report.lines).toMatchObject([
      { key: web, costMicroUsd: 104_000, savedMicroUsd: 0, isRunning: false }, { key: job, onDemandMicroUsd: 104_000, isRunning: true },
    ])
    expect(report.byLifecycle.spot.costMicroUsd).toBeLessThan(104_000)
    const text = formatBill(report)
    expect(text).toContain(`${job} *`)
    expect(text).toMatch(/nobody charges them\.$/)
    expect(formatCsv(report).split('\n')).toEqual([
      'instance,name,type,zone,lifecycle,hours,cost_usd,on_demand_usd,saved_usd',
      `${web},"web, ""old""",t3.micro,us-east-1a,on-demand,10.000000,0.104000,0.104000,0.000000`,
      expect.stringMatching(`^${job},job,t3.micro,us-east-1a,spot,10.000000,`) as string,
    ])
  })

  test('is the same when the books were made, and when prices are another matter by then', async () => {
    await run('spot', 'job', 5)
    const before = await bill('tag:Name')
    await sealUsage(cloud.store, REGION, NOW_MS + 10 * HOUR_MS)
    await cloud.run(({ db }) => db.updateTable('spot_market').set((eb) => ({ doc: eb.fn('replace', ['doc', eb.val('"background":true'), eb.val('"background":false')]) })).execute())
    expect(await bill('tag:Name')).toEqual(before)
    expect(before.lines).toMatchObject([{ key: 'job', billedMs: 5 * HOUR_MS }])
  })

  test('of nothing says so', async () => expect(formatBill(await bill())).toBe('us-east-1, 2026-01-01: nothing has run'))

  test('is made by what there is alone', () => expect(() => readGrouping('mood')).toThrow(/cannot be made by "mood"; take one of instance, zone, /))

  test('has more digits where it is little', () => expect([0, 173, 96_000, 250_000_000].map(usd)).toEqual(['$0.0000', '$0.000173', '$0.0960', '$250.00']))
})
