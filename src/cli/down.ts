import type { Command } from 'commander'
import { systemClock, waitFor } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { homePaths } from '../home.ts'
import { chooseEngine, hasStore } from '../main.ts'
import { hostDoc } from '../model/host.ts'
import { moveInstance, STATE_REASONS, userInitiated } from '../model/instance.ts'
import { endPause, pauseLaunches } from '../model/pause.ts'
import type { Settings } from '../settings.ts'
import { realmsOf, type Realm } from '../realm.ts'
import { moveZone, zoneStates } from '../model/zone.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { childrenOf } from './children.ts'
import { newCommand, wholeCloudSettingsOf, withSettings, withStore } from './command.ts'
import { countLive, liveZones } from './instances.ts'
import { leftRegions, removeNetworks } from './left-regions.ts'
import { nodeOfHome } from './node-of-home.ts'
import { Supervisor } from './supervisor.ts'
import { withProgress, type Terminal } from './terminal.ts'
import { lockHome, readUpRecord, settingsInForce } from './up-record.ts'
import { waitUntilDown } from './up.ts'

/** A guest has two minutes to shut down; then the agent ends it. */
const STOP_TIMEOUT_MS = 180_000
const END_TIMEOUT_MS = 30_000

/** `hearth down`: stops the machines, then the cloud, then takes its network away. */
export function addDown(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'down', 'stop every machine, then the cloud itself; the disks stay', [
    'hearth down', 'hearth down --home /srv/hearth',
  ])
  withSettings(command).action(() => down(wholeCloudSettingsOf(command), terminal))
}

/** Idempotent: says so when nothing runs. */
export async function down(asked: Settings, terminal: Terminal): Promise<void> {
  const settings = settingsInForce(asked)
  if (!hasStore(settings)) {
    terminal.say(`there is no cloud in ${asked.home}; nothing to do`)
    return
  }
  const [home, ...others] = realmsOf(settings)
  if (!home) return
  const realms = [home, ...others.filter(hasStore)]
  await withStores(realms, pausing(async (stores) => {
    const engine = await engineOf(stores, home)
    const live = await countAllLive(stores)
    if (live > 0) {
      terminal.say(`stopping ${live} machine${live === 1 ? '' : 's'}`)
      for (const zone of (await Promise.all(stores.map(stopFailedZones))).flat()) {
        terminal.say(`${zone} had failed; it is healed, for what is in it to be stopped`)
      }
      const stop = () => withProgress(systemClock, terminal, 'machines shut down', () => stopAll(stores))
      if (readUpRecord(settings.home)?.isRunning) await stop()
      else await withAgent({ ...settings, engine }, terminal, stop)
    }
    for (const store of stores) await store.transaction('down.pause', (db) => pauseLaunches(db, systemClock.now()))
    const hadSupervisor = await endSupervisor(settings.home, terminal)
    if (engine === 'qemu') await removeNetworks([...realms, ...leftRegions(settings)])
    terminal.say(live > 0 || hadSupervisor ? 'everything is down' : 'nothing was running')
  }))
}

/** However `body` ends, fleets and the market may launch again after that. */
function pausing(body: (stores: readonly Store[]) => Promise<void>): (stores: readonly Store[]) => Promise<void> {
  return async (stores) => {
    try {
      await body(stores)
    } finally {
      for (const store of stores) await store.transaction('down.over', endPause)
    }
  }
}

/** The databases of all regions, the home's first, for the time of `body`. */
async function withStores(realms: readonly Realm[], body: (stores: readonly Store[]) => Promise<void>, opened: readonly Store[] = []): Promise<void> {
  const [next, ...rest] = realms
  if (!next) return body(opened)
  await withStore(next, (store) => withStores(rest, body, [...opened, store]))
}

/** Machines of all regions. */
async function countAllLive(stores: readonly Store[]): Promise<number> {
  const counts = await Promise.all(stores.map(countLive))
  return counts.reduce((sum, count) => sum + count, 0)
}

async function engineOf([store]: readonly Store[], { home }: Settings): Promise<'qemu' | 'sim'> {
  const node = await store?.read((db) => nodeOfHome(db, home))
  return node ? hostDoc(node).engine : 'sim'
}

/** Asks for the stop of whatever runs, until nothing does; what is still pending is stopped once it runs. */
async function stopAll(stores: readonly Store[]): Promise<void> {
  const what = 'every machine to stop (try again, or see the logs in the home)'
  await waitFor(systemClock, what, STOP_TIMEOUT_MS, async () => {
    for (const store of stores) await requestStops(store)
    return (await countAllLive(stores)) === 0
  }, 250)
}

/** Writes what StopInstances writes, for the instances of every account. */
export async function requestStops(store: Store): Promise<void> {
  await store.transaction('down', stopRunning)
}

/**
 * The agent of a zone that has failed does nothing, so that nothing in it would ever stop: where anything lives in it, it is
 * healed, and what ran there is stopped in the same transaction, or it would be started again first.
 *
 * @returns the zones that were healed.
 */
export async function stopFailedZones(store: Store): Promise<string[]> {
  return store.transaction('down.zones', async (db) => {
    const lived = new Set(await liveZones(db))
    const failed = [...(await zoneStates(db)).values()].filter(({ zone, state }) => state !== 'available' && lived.has(zone))
    if (failed.length > 0) await stopRunning(db)
    for (const { zone } of failed) await moveZone({ db, nowMs: systemClock.now() }, zone, 'available')
    return failed.map(({ zone }) => zone)
  })
}

async function stopRunning(db: Db): Promise<void> {
  const nowMs = systemClock.now()
  await pauseLaunches(db, nowMs)
  for (const row of await db.selectFrom('instances').selectAll().where('state', '=', 'running').execute()) {
    await moveInstance(db, row, 'stopping', nowMs, {
      stateReason: STATE_REASONS.userShutdown, stateTransitionReason: userInitiated(nowMs), force: false,
    })
    await enqueue(db, { kind: 'instance', id: row.instance_id, hostId: row.host_id }, nowMs)
  }
}

/** Runs the part of the cloud that touches machines for the time of `body`. */
async function withAgent(settings: Settings, terminal: Terminal, body: () => Promise<void>): Promise<void> {
  const unlock = lockHome(settings.home)
  if (!unlock) throw new Error('hearth up is starting for this home; try again in a moment')
  const engine = await chooseEngine(settings, { clock: systemClock, log: silentLogger })
  const supervisor = new Supervisor({
    // Nobody is to find an API in the short life of the simulated cloud.
    children: childrenOf(settings, engine).filter(({ name }) => name !== 'api'), settings: { ...settings, port: 0, host: '127.0.0.1' },
    logFolder: homePaths(settings.home).logs, clock: systemClock, say: terminal.say,
  })
  try {
    await supervisor.start()
    await body()
  } finally {
    await supervisor.stop()
    unlock()
  }
}

/** Ends `hearth up` and waits until it is gone; false when none ran. */
async function endSupervisor(home: string, terminal: Terminal): Promise<boolean> {
  const up = readUpRecord(home)
  if (!up?.isRunning) return false
  process.kill(up.record.supervisor.pid, 'SIGTERM')
  await withProgress(systemClock, terminal, 'the cloud ends', () => waitUntilDown(home, END_TIMEOUT_MS))
  return true
}
