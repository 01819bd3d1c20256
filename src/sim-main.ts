import { createApi } from './api.ts'
import type { FoundPorts } from './child-process.ts'
import { systemClock } from './core/clock.ts'
import { systemRandom } from './core/random.ts'
import { ensureCredentials } from './credentials.ts'
import { ensureHome, ensureHostId, homePaths } from './home.ts'
import { MAX_NICS } from './hypervisor/driver.ts'
import type { SimWorld } from './hypervisor/sim-world.ts'
import { createMemoryKeys } from './keys/memory-keys.ts'
import { openSerialConsole } from './main-agents.ts'
import { openStore, processLogger, regionOf } from './main.ts'
import { DEFAULT_ACCOUNT } from './model/account.ts'
import { instanceDoc } from './model/instance.ts'
import { realmsOf, type Realm } from './realm.ts'
import { diskSpecs, keyOf } from './reconcile/disks.ts'
import { nicSpecs } from './reconcile/interfaces.ts'
import type { Settings } from './settings.ts'
import { createSimHost, createSimNode, INSTANT, REALISTIC, type SimHost } from './sim-host.ts'
import { groupBy } from './store/batch.ts'
import type { VolumeTable } from './store/schema.ts'
import type { Store } from './store/store.ts'

/** Nothing that `--instant` waits for is further away than this. */
const SETTLE_HORIZON_MS = 10_000

/** The whole cloud in this process over simulated machines: `--engine sim`. */
export async function startSimulated(
  settings: Settings,
  onFatal: (error: unknown) => void,
  log = processLogger('sim'),
): Promise<{ ports: Required<FoundPorts>; stop: () => Promise<void>; host: SimHost }> {
  const clock = systemClock
  const random = systemRandom
  const regions = new Map<string, { store: Store; world: SimWorld }>()
  const [home, ...others] = await Promise.all(
    realmsOf({ ...settings, engine: 'sim' }).map((realm) => openRealm(realm, { clock, random, log, onFatal, regions })))
  if (!home) throw new Error('a cloud has one region at least')
  const all = [home, ...others]
  const credentials = await ensureCredentials(homePaths(settings.home).credentials, random, DEFAULT_ACCOUNT)
  const api = await createApi({
    ...home.region, moreRegions: others.map(({ region }) => region), clock, random, log, placement: settings.placement, credentials,
    auth: settings.auth, allowedHosts: [settings.host],
  })
  for (const { agent } of all) {
    await agent.start()
    // The image is registered before anybody asks for it.
    await agent.settled(SETTLE_HORIZON_MS)
  }
  const port = await api.listen(settings.port, settings.host)
  const consoles = await Promise.all(all.map((realm) => openSerialConsole(realm.settings, { ...realm, log })))
  return {
    ports: { port, serialConsolePort: consoles[0]?.serialConsolePort ?? 0 }, host: home.host,
    async stop() {
      await api.close()
      for (const { serialConsole } of consoles) await serialConsole.close()
      for (const { agent, store } of all) {
        await agent.stop()
        await store.close()
      }
    },
  }
}

/** A simulated computer of its own for a region, as it was when its last process ended. */
async function openRealm(
  settings: Realm,
  ambient: Pick<Parameters<typeof createSimNode>[0], 'clock' | 'random' | 'log' | 'onFatal'> & { regions: Map<string, { store: Store; world: SimWorld }> },
) {
  await ensureHome(settings.home)
  const store = await openStore(settings, 'normal', 'api')
  const delays = settings.instant ? INSTANT : REALISTIC
  const host = createSimHost(ambient, delays)
  const nodeId = await ensureHostId(settings.home, ambient.random)
  await restoreHost(store, nodeId, host.world)
  ambient.regions.set(settings.region, { store, world: host.world })
  const { agent, hypervisor } = createSimNode({ ...ambient, nodeId, settings, store, host, delays })
  const settle = () => agent.settled(SETTLE_HORIZON_MS)
  return { settings, store, host, nodeId, agent, hypervisor, region: { ...regionOf(settings, store), ...(settings.instant ? { settle } : {}) } }
}

/** Simulated machines and disks end with their process; those that the database says are there are put back. */
async function restoreHost(store: Store, nodeId: string, world: SimWorld): Promise<void> {
  const { layers, instances, volumes, interfaces } = await store.read(async (db) => ({
    // What others stand on comes first.
    layers: await db
      .selectFrom('layers').selectAll()
      .where('host_id', 'in', (eb) => eb.selectFrom('hosts').select('host_id').where('node_id', '=', nodeId))
      .where('state', 'in', ['open', 'sealing', 'sealed'])
      .orderBy('depth').execute(),
    instances: await db
      .selectFrom('instances').selectAll()
      .where('node_id', '=', nodeId).where('state', 'in', ['running', 'stopping', 'shutting-down'])
      .execute(),
    volumes: await db.selectFrom('volumes').selectAll().where('attach_state', '=', 'attached').execute(),
    interfaces: groupBy(
      await db.selectFrom('interfaces').selectAll().where('host_id', '=', nodeId).where('instance_id', 'is not', null).execute(),
      (each) => each.instance_id),
  }))
  const keys = createMemoryKeys()
  for (const layer of layers) {
    // What was in them is gone, as nobody could read it.
    world.makeLayer({ layerId: layer.layer_id, sizeGib: layer.size_gib, parentId: layer.parent_id, key: await keyOf(keys, layer) })
    if (layer.state === 'sealed') world.sealLayer(layer.layer_id)
  }
  const pathOf = (layerId: string) => layerId
  for (const row of instances) {
    const { rootDeviceName } = instanceDoc(row)
    const isRoot = ({ device }: VolumeTable) => Number(device === rootDeviceName)
    const attached = volumes
      .filter((volume) => volume.instance_id === row.instance_id).toSorted((a, b) => isRoot(b) - isRoot(a))
      .flatMap((volume) => layers.filter((layer) => layer.layer_id === volume.layer_id).map((head) => ({ row: volume, head, next: null })))
    world.start({
      instanceId: row.instance_id, uuid: '', slot: row.slot ?? 0, vcpus: row.vcpus, memoryMib: row.memory_mib,
      platform: { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' },
      disks: await diskSpecs({ store, volumes: { pathOf }, keys }, attached),
      nics: nicSpecs({ tapOf: String }, interfaces.get(row.instance_id) ?? []), maxNics: MAX_NICS, netnsPath: null,
    })
  }
}
