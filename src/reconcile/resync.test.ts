import { sql } from 'kysely'
import { beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import {
  HOST_ID, hostOf, insertInstance, insertLayerRow, insertVolume, NOW_MS, openTestStore, REGION, type TestStore,
} from '../../test/support/rows.ts'
import { DONE } from './loop.ts'
import { createNodeInstances, createNodeVolumes, forNode, forOwnInstances, handOver } from './hand-over.ts'
import { resync } from './resync.ts'

const [HOST_A, HOST_B] = [hostOf(`${REGION}a`), hostOf(`${REGION}b`)]
const STRAY = { machine: 'i-0000000000000dead', layer: 'lay-0000000000000dead', vpc: 'vpc-0000000000000dead' }

let world: TestStore
const clock = new VirtualClock(seededRandom(1), NOW_MS)
beforeEach(async () => {
  world = await openTestStore()
})

/** What all hosts of the node see: their machines and files, and some that are nobody's. */
async function drivers() {
  const rows = await world.store.read(async (db) => ({
    instances: await db.selectFrom('instances').select('instance_id as id').execute(),
    layers: await db.selectFrom('layers').select('layer_id as id').execute(),
  }))
  return {
    hypervisor: { list: async () => [...rows.instances.map(({ id }) => id), STRAY.machine] },
    volumes: { list: async () => [...rows.layers.map(({ id }) => id), STRAY.layer] },
    network: { list: async () => [STRAY.vpc] },
  }
}

async function marked(hostId: string): Promise<string[]> {
  const options = { store: world.store, clock, ...(await drivers()), hostId, isNode: hostId === HOST_ID }
  const running = resync(options)
  await clock.advance(1000)
  await running
  const rows = await world.store.read((db) => db.selectFrom('work').selectAll().orderBy('kind').orderBy('id').execute())
  expect(rows.filter((row) => row.host_id !== hostId)).toEqual([])
  return rows.map(({ kind, id }) => `${kind} ${id}`)
}

/** A running instance of each zone, on its host. */
const instances = () => world.run(async (context) => {
  const a = await insertInstance(context, { host_id: HOST_A, zone: `${REGION}a` })
  const b = await insertInstance(context, { host_id: HOST_B, zone: `${REGION}b` })
  return { a: a.instance_id, b: b.instance_id, vpcIds: [...new Set([a.vpc_id, b.vpc_id])] }
})

describe('the resync of a host', () => {
  test('does not read through the volumes and layers of all others', async () => {
    const plans = await world.store.read(async (db) => [
      ...(await sql<{ detail: string }>`explain query plan select volume_id from volumes where host_id = 'h' and volume_id > '' order by volume_id limit 250`.execute(db)).rows,
      ...(await sql<{ detail: string }>`explain query plan select layer_id from layers where host_id = 'h' and layer_id > '' order by layer_id limit 250`.execute(db)).rows,
    ].map(({ detail }) => detail))
    expect(plans).toEqual([
      'SEARCH volumes USING COVERING INDEX volumes_by_host (host_id=? AND volume_id>?)',
      'SEARCH layers USING COVERING INDEX layers_by_host (host_id=? AND layer_id>?)',
    ])
  })

  test('marks its own instances, and leaves machines of other zones and of nobody alone', async () => {
    const { a } = await instances()
    expect(await marked(HOST_A)).toEqual([`instance ${a}`])
  })

  test('marks its own volumes and layers that are not as they should be', async () => {
    const { volume, layer } = await world.run(async (context) => {
      const [own, other] = [{ host_id: HOST_A }, { host_id: HOST_B }]
      await insertVolume(context, undefined, { ready: 0, ...other })
      await insertLayerRow(context, { state: 'sealing', ...other })
      await insertLayerRow(context, { state: 'sealed', ...own })
      return {
        volume: await insertVolume(context, undefined, { ready: 0, ...own }), layer: await insertLayerRow(context, { state: 'deleting', ...own }),
      }
    })
    expect(await marked(HOST_A)).toEqual([`layer ${layer.layer_id}`, `volume ${volume.volume_id}`])
  })
})

describe('the resync of a node', () => {
  test('finds what is nobody\'s, and nothing that is a host\'s', async () => {
    const { vpcIds } = await instances()
    await world.run(async (context) => void (await insertLayerRow(context, { host_id: HOST_B })))
    expect(await marked(HOST_ID)).toEqual([
      'images built', `instance ${STRAY.machine}`, `layer ${STRAY.layer}`, 'recycle bin',
      ...[...vpcIds, STRAY.vpc].map((id) => `vpc ${id}`).toSorted(),
    ])
  })

  test('leaves the folders of terminated instances until they are forgotten', async () => {
    await world.run(async (context) => void (await insertInstance(context, { host_id: HOST_A, state: 'terminated', holds_capacity: 0 })))
    expect((await marked(HOST_ID)).filter((each) => each.startsWith('instance'))).toEqual([`instance ${STRAY.machine}`])
  })
})

describe('work that came to the wrong host', () => {
  const common = () => ({ store: world.store, clock })
  /** What is due, and for whom, after a reconciler that must not do it itself. */
  async function after(outcome: Awaited<ReturnType<ReturnType<typeof forNode>['reconcile']>>): Promise<string[]> {
    await world.store.transaction('test', async (db) => void (await outcome.observed?.write(db)))
    const rows = await world.store.read((db) => db.selectFrom('work').selectAll().execute())
    return rows.map(({ kind, id, host_id }) => `${kind} ${id} ${host_id}`)
  }
  const never = { reconcile: () => Promise.reject(new Error('this is another host\'s')) }

  test('goes on to its own, and to the node what only nodes do', async () => {
    expect(await after(handOver({ clock }, 'volume', 'vol-1', HOST_B))).toEqual([`volume vol-1 ${HOST_B}`])
    expect(await after(await forNode({ clock, nodeId: HOST_ID }, 'ports').reconcile('vpc-1'))).toContain(`ports vpc-1 ${HOST_ID}`)
  })

  test('is not done on a machine of another host', async () => {
    const { b } = await instances()
    const screenshot = forOwnInstances({ ...common(), hostId: HOST_A, isNode: false }, 'screenshot', never)
    expect(await after(await screenshot.reconcile(b))).toEqual([`screenshot ${b} ${HOST_B}`])
  })

  test('is not done by a node, which removes only machines that are nobody\'s', async () => {
    const { a } = await instances()
    const removed: string[] = []
    const node = createNodeInstances({ ...common(), hostId: HOST_ID }, {
      reconcile: async (id) => {
        removed.push(id)
        return DONE
      },
    })
    expect(await after(await node.reconcile(a))).toEqual([`instance ${a} ${HOST_A}`])
    await node.reconcile(STRAY.machine)
    expect(removed).toEqual([STRAY.machine])
  })

  test('waits on a node for the host that takes it over', async () => {
    const { id, volumeId } = await world.run(async (context) => {
      const instance = await insertInstance(context, { host_id: HOST_ID })
      return { id: instance.instance_id, volumeId: (await insertVolume(context, instance)).volume_id }
    })
    const options = { ...common(), hostId: HOST_ID }
    expect(await createNodeInstances(options, never).reconcile(id)).toMatchObject({ kind: 'again' })
    expect(await createNodeVolumes(options).reconcile(volumeId)).toMatchObject({ kind: 'again' })
    expect(await forOwnInstances({ ...options, isNode: true }, 'console', never).reconcile(id)).toMatchObject({ kind: 'again' })
  })
})
