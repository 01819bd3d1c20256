import type { Command } from 'commander'
import { systemClock, waitFor } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { systemRandom } from '../core/random.ts'
import { ensureHome, homePaths } from '../home.ts'
import { processOf } from '../hypervisor/qemu/process.ts'
import { buildImage } from '../images/build.ts'
import { chooseEngine, lackOfConnections, openStore, type Engine } from '../main.ts'
import { realmsOf } from '../realm.ts'
import { SETTING_OPTIONS, type Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import { childrenOf } from './children.ts'
import { checkHomeFolder, hearthCommand, newCommand, cloudSettingsOf, withSettings, withStore } from './command.ts'
import { RAISE_CONNECTIONS } from './doctor-checks.ts'
import { engineOfHome } from './home-engine.ts'
import { withHomeRegion } from './home-region.ts'
import { checkLeftRegions, leftOutLines, leftRegions, removeNetworks } from './left-regions.ts'
import { prepareZones } from './prepare-zones.ts'
import { narrowZones } from './narrow-zones.ts'
import { watchRoom } from './room.ts'
import { Supervisor } from './supervisor.ts'
import type { Terminal } from './terminal.ts'
import {
  describeSerialConsole, endpointOf, exposureWarning, lockHome, readUpRecord, serialConsoleOf, writeUpRecord,
} from './up-record.ts'
import { welcome } from './welcome.ts'
import { countProcesses, troubledZones } from './zone-trouble.ts'

/** `hearth up`: brings the cloud up and keeps it up. */
export function addUp(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'up', 'bring the cloud up and keep it up; Ctrl-C ends it, its machines run on', [
    'hearth up', 'hearth up --engine sim --instant --port 0', 'hearth up --home /srv/hearth --overcommit-memory 2',
  ])
  withSettings(command).action(() => up(cloudSettingsOf(command), command.opts<{ region?: string }>().region, terminal))
}

async function up(asked: Settings, region: string | undefined, terminal: Terminal): Promise<void> {
  const ending = endingBySignal()
  checkHomeFolder(asked.home)
  await ensureHome(asked.home)
  const unlock = lockHome(asked.home)
  if (!unlock) {
    const pid = readUpRecord(asked.home)?.record.supervisor.pid
    const which = `${asked.home}${pid === undefined ? '' : ` (pid ${pid})`}`
    throw new Error(`hearth up runs already for ${which}; end it first: ${hearthCommand('down', asked)}`)
  }
  try {
    const settings = await withHomeRegion(asked, region)
    if (settings.region !== asked.region && process.env[SETTING_OPTIONS.region.variable]) {
      terminal.say(`the home region is ${settings.region}, as it was; ${SETTING_OPTIONS.region.variable} selects a region for other commands`)
    }
    // Whoever ends this during a long build need not wait for the build.
    const chosen = await Promise.race([prepare(settings, terminal), aborted(ending)])
    if (chosen) await supervise({ ...settings, engine: chosen.engine }, chosen, terminal, ending)
  } finally {
    unlock()
  }
}

/** Aborts at the first SIGINT, SIGTERM or SIGHUP. More change nothing: npm passes on a Ctrl-C that came here already. */
function endingBySignal(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => controller.abort())
  return controller.signal
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}

/** Chooses the engine, says so, and makes what it needs before anything is started. */
async function prepare(settings: Settings, terminal: Terminal): Promise<Engine> {
  const ambient = { clock: systemClock, log: silentLogger }
  const chosen = await chooseEngine({ ...settings, engine: await engineOfHome(settings) }, ambient)
  terminal.say(`engine: ${chosen.engine}${chosen.engine === 'sim' ? '' : `, ${chosen.accelerator}`} (${chosen.reason})`)
  const warning = exposureWarning(settings)
  if (warning) terminal.say(`warning: ${warning}`)
  if (chosen.engine === 'qemu') await buildImage('tiny', { home: settings.home, ...ambient, progress: terminal.say })
  return chosen
}

async function supervise(settings: Settings, engine: Engine, terminal: Terminal, ending: AbortSignal): Promise<void> {
  const { home } = settings
  const self = processOf(process.pid)
  if (!self) throw new Error('/proc is not there; Hearth runs on Linux only')
  const startedMs = systemClock.now()
  let isReady = false
  let hasBegun = false
  const record = () => {
    const { settings: inForce, pids: children } = supervisor
    writeUpRecord(home, { supervisor: self, startedMs, engine, settings: inForce, children, isReady })
  }
  const supervisor = new Supervisor({
    children: childrenOf(settings, engine), settings, logFolder: homePaths(home).logs, clock: systemClock, say: terminal.say,
    onChange: () => record(),
  })
  await checkLeftRegions(settings)
  for (const line of leftOutLines(settings)) terminal.say(line)
  if (engine.engine === 'qemu') await removeNetworks(leftRegions(settings))
  // One connection from before the first process begins until all are there: a database is made, and put in order, by one.
  const stores: Store[] = []
  const closeStores = () => Promise.all(stores.splice(0).map((store) => store.close()))
  try {
    for (const realm of realmsOf(settings)) {
      await ensureHome(realm.home)
      const store = await openStore(realm)
      stores.push(store)
      for (const line of await prepareZones(store, realm, { random: systemRandom, nowMs: startedMs })) terminal.say(line)
      for (const line of await troubledZones(store, realm)) terminal.say(line)
    }
    const lack = await lackOfConnections(settings)
    if (lack !== undefined) terminal.say(`warning: ${lack}: ${RAISE_CONNECTIONS}`)
    hasBegun = true
    await Promise.race([supervisor.start(), aborted(ending)])
    if (!ending.aborted) {
      for (const line of (await Promise.all(stores.map(narrowZones))).flat()) terminal.say(`warning: ${line}`)
    }
    await closeStores()
    if (!ending.aborted) {
      isReady = true
      record()
      terminal.out(`ready ${endpointOf(supervisor.settings)}`)
      const serialConsole = serialConsoleOf(supervisor.settings)
      if (serialConsole) terminal.say(`serial consoles: ${describeSerialConsole(serialConsole)}`)
      greet(supervisor.settings, terminal, ending)
      const watch = watchRoom(home, systemClock, terminal)
      await aborted(ending)
      watch.cancel()
    }
  } finally {
    if (hasBegun) terminal.say('ending …')
    await closeStores()
    await supervisor.stop()
  }
  let live = 0
  for (const realm of realmsOf(settings)) live += await withStore(realm, countProcesses)
  terminal.say(engine.engine === 'sim' || live === 0
    ? 'the cloud is down; its state is kept for the next up'
    : `the cloud is down, its machines (${live}) run on; stop them too: ${hearthCommand('down', settings)}`)
}

/** Launches the first instance and says how to get in. Nothing that fails here takes the cloud down. */
function greet(settings: Settings, terminal: Terminal, ending: AbortSignal): void {
  welcome(settings, terminal, ending).catch((error: unknown) => {
    if (!ending.aborted) terminal.say(`the first instance: ${messageOf(error)}. The cloud is up all the same.`)
  })
}

/** Waits until no `hearth up` holds the home. */
export async function waitUntilDown(home: string, timeoutMs: number): Promise<void> {
  await waitFor(systemClock, 'hearth up to end', timeoutMs, () => !readUpRecord(home)?.isRunning)
}
