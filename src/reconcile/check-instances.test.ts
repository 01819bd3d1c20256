import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, insertInstance, insertInterface, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import type { MachineHealth } from '../hypervisor/driver.ts'
import { changeInstanceDoc, instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { ensureSlot } from '../model/slot.ts'
import { recordOf } from '../model/status-check.ts'
import type { AskedPort } from '../network/driver.ts'
import { checkInstances } from './check-instances.ts'

const REAL = { machineType: 'pc-q35-7.2', cpuModel: 'max', accelerator: 'tcg' } as const

let lab: TestStore
let health: MachineHealth
/** What the network answers for every port that it is asked about. */
let answer: boolean | undefined
let asked: { vpc: { vpcId: string; slot: number }; ports: readonly AskedPort[] }[]
let whileAsking: () => Promise<unknown>

beforeEach(async () => {
  lab = await openTestStore()
  health = 'running'
  answer = true
  asked = []
  whileAsking = async () => {}
})
afterEach(() => lab.store.close())

const insert = (doc: Partial<InstanceDoc> = {}, change: { reboot_requested?: number } = {}) => lab.run(async (context) => {
  const instance = await insertInstance(context, change, { platform: REAL, contactMs: NOW_MS, ...doc })
  const slot = await ensureSlot(context.db, context.random, HOST_ID, 'machine', instance.instance_id)
  await ensureSlot(context.db, context.random, HOST_ID, 'vpc', instance.vpc_id)
  await insertInterface(context, instance, { slot })
  return instance.instance_id
})
const docOf = async (id: string) => instanceDoc(await lab.store.read((db) =>
  db.selectFrom('instances').select('doc').where('instance_id', '=', id).executeTakeFirstOrThrow()))

/** A round, in which each check that fails now has failed once before. */
function check(...ids: string[]) {
  const clock = new VirtualClock(lab.random, NOW_MS + 1000)
  const failing = { failures: 1, sinceMs: NOW_MS }
  return checkInstances({
    store: lab.store, clock, log: silentLogger, hostId: HOST_ID, nodeId: HOST_ID,
    hypervisor: { health: async () => health, observe: async () => ({ status: 'running', pid: 7, startedAtMs: 0 }) },
    network: {
      async askPorts(vpc, ports) {
        asked.push({ vpc, ports })
        await whileAsking()
        if (answer === undefined) throw new Error('the namespace is gone')
        return new Map(ports.map((port) => [port.interfaceId, answer === true]))
      },
    },
  }, ids, ({ doc }) => (doc.checks ? recordOf(doc.checks) : { system: failing, instance: failing }))
}

describe('A round of status checks', () => {
  it('asks the guests of a VPC at once, by their primary interfaces, and writes nothing while all is well', async () => {
    const ids = [await insert(), await insert()]
    const before = await Promise.all(ids.map(docOf))
    const findings = await check(...ids)
    expect(asked).toHaveLength(1)
    expect(asked[0]?.ports).toHaveLength(2)
    for (const { record, change } of findings) expect([record, change]).toEqual([{ system: null, instance: null }, {}])
    expect(findings).toHaveLength(2)
    expect(await Promise.all(ids.map(docOf))).toEqual(before)
  })

  it('writes what fails, and that it does no more', async () => {
    const id = await insert()
    answer = false
    await check(id)
    expect((await docOf(id)).checks).toEqual({ systemSinceMs: null, instanceSinceMs: NOW_MS })
    health = 'silent'
    await check(id)
    expect((await docOf(id)).checks?.instanceSinceMs).toBe(NOW_MS)
    health = 'running'
    answer = true
    await check(id)
    expect((await docOf(id)).checks).toBeNull()
  })

  it('takes the answer of a guest for a sign of life, and its silence for that of one that boots', async () => {
    const id = await insert({ contactMs: null })
    answer = false
    const [silent] = await check(id)
    expect(silent?.record.instance?.failures).toBe(1)
    expect((await docOf(id)).checks ?? null).toBeNull()
    answer = true
    await check(id)
    expect((await docOf(id)).contactMs).toBe(NOW_MS + 1000)
  })

  it('does not ask guests that stand still for a reason, and says nothing of machines that are not there', async () => {
    const id = await insert()
    health = 'still'
    expect((await check(id))[0]?.record).toEqual({ system: null, instance: { failures: 1, sinceMs: NOW_MS } })
    health = 'absent'
    expect((await check(id))[0]?.record).toEqual({ system: { failures: 1, sinceMs: NOW_MS }, instance: { failures: 1, sinceMs: NOW_MS } })
    expect(asked).toEqual([])
  })

  it('says nothing of guests that could not be asked', async () => {
    const id = await insert()
    answer = undefined
    expect((await check(id))[0]?.record).toEqual({ system: null, instance: { failures: 1, sinceMs: NOW_MS } })
  })

  it('leaves alone what is being rebooted or replaced', async () => {
    const ids = [await insert({}, { reboot_requested: 1 }), await insert({ recovery: { cause: 'hang', pid: 7 } })]
    expect(await check(...ids)).toEqual([])
  })

  it('writes nothing of a machine that was started anew meanwhile', async () => {
    const id = await insert()
    answer = false
    whileAsking = () => lab.store.transaction('test', (db) => changeInstanceDoc(db, id, { startedMs: NOW_MS + 500 }))
    await check(id)
    expect((await docOf(id)).checks ?? null).toBeNull()
  })

  it('has a machine replaced that has been silent for long', async () => {
    const id = await insert()
    health = 'silent'
    const clock = new VirtualClock(lab.random, NOW_MS)
    const options = {
      store: lab.store, clock, log: silentLogger, hostId: HOST_ID, nodeId: HOST_ID, network: { askPorts: async () => new Map() },
      hypervisor: { health: async () => health, observe: async () => ({ status: 'running', pid: 7, startedAtMs: 0 } as const) },
    }
    await checkInstances(options, [id], () => ({ system: { failures: 4, sinceMs: NOW_MS }, instance: null }))
    expect((await docOf(id)).recovery).toEqual({ cause: 'hang', pid: 7 })
    const work = await lab.store.read((db) => db.selectFrom('work').select(['kind', 'id']).execute())
    expect(work).toEqual([{ kind: 'instance', id }])
  })
})
