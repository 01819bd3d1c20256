import { beforeEach, describe, expect, test } from 'vitest'
import { insertInstance, HOST_ID, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import { createSimWorld, type SimWorld } from '../hypervisor/sim-world.ts'
import { createSimHypervisor } from '../hypervisor/sim.ts'
import { authorizedLine, MOST_PUSHED_KEYS, PUSHED_KEY_MS, pushKey, type PushedKey } from '../model/pushed-key.ts'
import type { PushedKeyTable } from '../store/schema.ts'
import type { Reconciler } from './loop.ts'
import { createPushedKeyReconciler } from './pushed-key.ts'

let store: TestStore
let world: SimWorld
let clock: VirtualClock
let hypervisor: Hypervisor
let reconciler: Reconciler
let instanceId: string

beforeEach(async () => {
  store = await openTestStore()
  clock = new VirtualClock(store.random, NOW_MS)
  world = createSimWorld({ clock, random: store.random, delays: { bootMs: [0, 0], shutdownMs: [0, 0], unplugMs: [0, 0] } })
  hypervisor = createSimHypervisor({ world, clock, random: store.random, delays: { startMs: [0, 0], stopMs: [0, 0] } })
  reconciler = createPushedKeyReconciler({ store: store.store, clock, log: silentLogger, hypervisor })
  instanceId = (await store.run((context) => insertInstance(context))).instance_id
  boot()
})

function boot(): void {
  world.start({
    instanceId, uuid: '', slot: 1, vcpus: 1, memoryMib: 64, platform: { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' },
    disks: [], nics: [], maxNics: 1, netnsPath: null,
  })
}

const push = (key: Partial<PushedKey> = {}) => store.run((context) => pushKey({ ...context, nowMs: clock.now() }, {
  account_id: context.account, instance_id: instanceId, kind: 'ssh', os_user: 'root', public_key: 'ssh-ed25519 AAAA', ...key,
}, HOST_ID))
const rows = () => store.run(({ db }) => db.selectFrom('pushed_keys').selectAll().execute())
const states = async () => (await rows()).map((row) => row.state)
const inGuest = () => [...(world.machines.get(instanceId)?.authorizedKeys.get('root') ?? [])]

/** One run for the key, as the loop makes it. @returns after how long the next one is due. */
async function run(row: PushedKeyTable): Promise<number | undefined> {
  const outcome = await reconciler.reconcile(row.key_id)
  await store.run(({ db }) => Promise.resolve(outcome.observed?.write(db)))
  return outcome.kind === 'again' ? outcome.afterMs : undefined
}

/** Runs until nothing is left to do for a second. */
async function settle(row: PushedKeyTable): Promise<void> {
  for (let runs = 0; runs < 100; runs++) {
    const afterMs = await run(row)
    if (afterMs === undefined || afterMs > 1000) return
    await pass(afterMs)
  }
  throw new Error('it goes round in circles')
}

async function pass(ms: number): Promise<void> {
  await clock.advance(ms)
}

async function onlyRow(): Promise<PushedKeyTable> {
  const [row] = await rows()
  if (!row) throw new Error('no key')
  return row
}

describe('a key pushed for SSH', () => {
  test('is in the guest for a minute, beside a line of the same key that stays', async () => {
    const mine = 'ssh-ed25519 AAAA me@home'
    await hypervisor.changeAuthorizedKeys(instanceId, { osUser: 'root', add: [mine], remove: [] })
    await push()
    const row = await onlyRow()
    await settle(row)
    expect(await states()).toEqual(['present'])
    expect(inGuest()).toEqual([mine, authorizedLine(row)])
    await pass(PUSHED_KEY_MS - 1)
    await settle(row)
    expect([await states(), inGuest()]).toEqual([[], [mine]])
  })

  test('pushed again, stays for another minute, also when it was just about to go', async () => {
    await push()
    const row = await onlyRow()
    await settle(row)
    await pass(PUSHED_KEY_MS)
    const late = await reconciler.reconcile(row.key_id)
    await push()
    await store.run(({ db }) => Promise.resolve(late.observed?.write(db)))
    expect(inGuest()).toEqual([])
    await settle(row)
    expect([await states(), inGuest()]).toEqual([['present'], [authorizedLine(row)]])
  })

  test('is known to be in the guest by an agent that died before it could write that down', async () => {
    await push()
    const row = await onlyRow()
    await run(row)
    expect(await states()).toEqual(['asked'])
    await reconciler.reconcile(row.key_id)
    expect(inGuest()).toHaveLength(1)
    await pass(PUSHED_KEY_MS)
    await settle(row)
    expect([await states(), inGuest()]).toEqual([[], []])
  })

  test('goes when the guest is back, where that was away when its minute was over', async () => {
    await push()
    const row = await onlyRow()
    await settle(row)
    world.processDies(instanceId)
    await pass(PUSHED_KEY_MS)
    expect(await run(row)).toBeGreaterThan(1000)
    expect(await states()).toEqual(['present'])
    boot()
    await settle(row)
    expect([await states(), inGuest()]).toEqual([[], []])
  })

  test('is forgotten with its instance, unless that can be had again', async () => {
    await push()
    const row = await onlyRow()
    await settle(row)
    await store.run(async ({ db, account }) => {
      await db.updateTable('instances').set({ state: 'terminated' }).execute()
      await db.insertInto('instance_backups')
        .values({ instance_id: instanceId, account_id: account, terminated_ms: NOW_MS, exit_ms: NOW_MS, doc: '{}' }).execute()
    })
    world.processDies(instanceId)
    await pass(PUSHED_KEY_MS)
    await run(row)
    expect(await states()).toEqual(['present'])
    await store.run(({ db }) => db.deleteFrom('instance_backups').execute())
    await run(row)
    expect(await states()).toEqual([])
  })

  test('is for nothing where nobody listens, or the guest has no such user, and is forgotten', async () => {
    world.takesKeys = false
    await push()
    const row = await onlyRow()
    await settle(row)
    expect([await states(), clock.now() - NOW_MS]).toEqual([['unavailable'], 4000])
    world.takesKeys = true
    await push({ os_user: 'nobody' })
    const other = (await rows()).find((each) => each.os_user === 'nobody') ?? row
    await settle(other)
    expect(await states()).toEqual(['unavailable', 'refused'])
    await pass(PUSHED_KEY_MS)
    for (const each of [row, other]) await settle(each)
    expect(await states()).toEqual([])
  })

  test('waits for a guest that begins to listen a little later', async () => {
    world.takesKeys = false
    await push()
    const row = await onlyRow()
    await run(row)
    world.takesKeys = true
    await settle(row)
    expect(await states()).toEqual(['present'])
  })
})

describe('a key pushed for the serial console', () => {
  test('lets in for a minute where nobody sits there', async () => {
    await push({ kind: 'serial', os_user: '' })
    const row = await onlyRow()
    await settle(row)
    expect([await states(), inGuest()]).toEqual([['present'], []])
    await pass(PUSHED_KEY_MS)
    await settle(row)
    expect(await states()).toEqual([])
  })

  test('is of no use where somebody does', async () => {
    const serial = world.openSerial(instanceId)
    await push({ kind: 'serial', os_user: '' })
    await settle(await onlyRow())
    expect(await states()).toEqual(['busy'])
    if (typeof serial === 'string') throw new Error(serial)
    const closed = new Promise((resolve) => serial.once('close', resolve))
    serial.destroy()
    await closed
    await push({ kind: 'serial', os_user: '' })
    await settle(await onlyRow())
    expect(await states()).toEqual(['present'])
  })
})

test('an instance has no more than so many keys at a time', async () => {
  const pushed = []
  for (let index = 0; index <= MOST_PUSHED_KEYS; index++) pushed.push(await push({ public_key: `ssh-ed25519 ${index}` }))
  expect(pushed.indexOf(false)).toBe(MOST_PUSHED_KEYS)
  expect(await push({ public_key: 'ssh-ed25519 0' })).toBe(true)
})
