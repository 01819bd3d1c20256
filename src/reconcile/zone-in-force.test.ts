import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addInstance, openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import { HOST_ID, insertInstance, insertInterface } from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import { ensureAccount } from '../model/account.ts'
import { moveZone, type ZoneState } from '../model/zone.ts'
import { Gate } from './gate.ts'
import { DONE } from './loop.ts'
import { createZoneReconciler, type ZoneReconcilerOptions } from './zone.ts'

const ZONE = 'us-east-1a'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
  await lab.run(({ db }) => db.updateTable('hosts').set({ zone: ZONE }).where('host_id', '=', HOST_ID).execute())
})
afterEach(() => lab.close())

const move = (to: ZoneState) => lab.run((context) => moveZone(context, ZONE, to))
const launch = async () => (await addInstance(lab)).instance.instance_id
const revisionInForce = () => lab.query(async (db) =>
  (await db.selectFrom('hosts').select('zone_revision').where('host_id', '=', HOST_ID).executeTakeFirstOrThrow()).zone_revision)

/** A host, or node, whose machines are only known to be frozen or not. */
function hostWith(options: Partial<ZoneReconcilerOptions> & { beforeFreeze?: (id: string) => Promise<void> } = {}) {
  const frozen = new Set<string>()
  const gate = new Gate()
  const { reconcile } = createZoneReconciler({
    store: lab.store, clock: lab.clock, log: silentLogger, hostId: HOST_ID, isNode: false, gate, instancesInWork: () => 0,
    vpc: { reconcile: async () => DONE }, resync: async () => {},
    hypervisor: {
      ensureStopped: async () => {},
      ensureFrozen: async (id: string) => {
        await options.beforeFreeze?.(id)
        frozen.add(id)
      },
      ensureThawed: async (id: string) => void frozen.delete(id),
    },
    ...options,
  })
  return { frozen, gate, pass: () => reconcile(ZONE) }
}

describe('Putting the state of a zone in force', () => {
  it('has guests go on at once after a heal, also where something waits for one of them; the rest comes when nothing does', async () => {
    const id = await launch()
    let inWork = 1
    const { frozen, gate, pass } = hostWith({ instancesInWork: () => inWork })
    await move('impaired')
    await pass()
    expect([...frozen]).toEqual([id])
    await move('available')
    expect(await pass()).toMatchObject({ kind: 'again' })
    expect([[...frozen], gate.isClosed]).toEqual([[], true])
    inWork = 0
    expect(await pass()).toEqual(DONE)
    expect(gate.isClosed).toBe(false)
  })

  it('freezes every other machine where one cannot be frozen, and none any more when it has said so', async () => {
    const ids: string[] = []
    for (let each = 0; each < 18; each++) ids.push(await launch())
    const [bad, slow, ...others] = ids.toSorted()
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    const { frozen, pass } = hostWith({
      beforeFreeze: async (id) => {
        if (id === bad) throw new Error('it does not stop')
        if (id === slow) await held
      },
    })
    await move('impaired')
    const done = pass()
    await new Promise(setImmediate)
    release()
    await expect(done).rejects.toThrow('it does not stop')
    expect([...frozen].toSorted()).toEqual([slow, ...others])
  })

  it('has a guest go on that stands still in a zone that has not failed, as one that was another host\'s', async () => {
    const id = await launch()
    await move('impaired')
    await move('available')
    const { frozen, pass } = hostWith()
    await pass()
    frozen.add(id)
    await pass()
    expect([...frozen]).toEqual([])
  })

  it('tries every network of a node where one cannot be brought in force, and says that it is so when all are', async () => {
    let isBroken = true
    const tried: string[] = []
    const vpcIds: string[] = []
    for (const digit of ['1', '2', '3', '4', '5', '6']) {
      vpcIds.push(await lab.run(async (context) => {
        const ofAccount = { ...context, account: digit.repeat(12) }
        await ensureAccount(context.db, { clock: lab.clock, random: context.random, zones: [ZONE] }, { accountId: ofAccount.account, name: ofAccount.account })
        return (await insertInterface(ofAccount, await insertInstance(ofAccount))).vpc_id
      }))
    }
    vpcIds.sort()
    const { pass } = hostWith({
      isNode: true,
      vpc: {
        reconcile: async (id) => {
          tried.push(id)
          if (isBroken && id === vpcIds[0]) throw new Error('no such device')
          return DONE
        },
      },
    })
    await move('unavailable')
    await expect(pass()).rejects.toThrow('no such device')
    expect(tried).toEqual(expect.arrayContaining(vpcIds))
    expect(await revisionInForce()).toBe(0)
    isBroken = false
    await pass()
    expect(await revisionInForce()).toBe(1)
  })
})
