import type { Command } from 'commander'
import { systemClock, waitFor, type Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { giveUpMemory, isHibernated } from '../model/memory.ts'
import type { Store } from '../store/store.ts'
import type { ApiClient } from './api-client.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { instanceStateOf } from './instance-state.ts'
import { findInstance, listInstances, type InstanceView } from './instances.ts'
import { openRunningCloud } from './running-cloud.ts'
import { withProgress, type Terminal } from './terminal.ts'
import type { AnySettings } from '../realm.ts'
import { requireZone, zoneTrouble } from './zone-trouble.ts'

/** Emulated guests take minutes, and memory takes as long as the disk does. */
const TIMEOUT_MS = 15 * 60 * 1000
const LOOK_MS = 200

/** What `--json` prints. */
export interface Changed {
  instanceId: string
  state: string
  /** Stopped, and what was in its memory is kept. */
  isHibernated: boolean
}

interface Ambient {
  api: ApiClient
  store: Store
  clock: Clock
  terminal: Terminal
  settings: Pick<AnySettings, 'home' | 'cloudHome' | 'region'>
}

type Instance = Pick<InstanceView, 'instanceId' | 'zone' | 'state' | 'isHibernated'>

/** `hearth start`: as StartInstances, and waits; `--cold` gives up what a hibernated guest had in its memory. */
export function addStart(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'start', 'start a stopped instance; a hibernated one goes on where it was', [
    'hearth start first', 'hearth start i-0123 --cold',
  ])
  command.option('--cold', 'boot a hibernated instance anew: what was in its memory is lost')
  withWaiting(command, terminal, 'starts', (ambient, instance, wait) =>
    startInstance(ambient, instance, { isCold: command.opts().cold === true, wait }))
}

/** `hearth stop`: as StopInstances, and waits. */
export function addStop(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'stop', 'stop an instance; its disks and its private address stay', [
    'hearth stop first', 'hearth stop first --hibernate', 'hearth stop i-0123 --force',
  ])
  command
    .option('--hibernate', 'keep what is in its memory, for the next start')
    .option('--force', 'leave the guest little time to shut down; gives up a hibernation that is under way')
  withWaiting(command, terminal, 'stops', (ambient, instance, wait) =>
    stopInstance(ambient, instance, { hibernate: command.opts().hibernate === true, force: command.opts().force === true, wait }))
}

function withWaiting(
  command: Command,
  terminal: Terminal,
  verb: string,
  change: (ambient: Ambient, instance: InstanceView, wait: boolean) => Promise<Changed>,
): void {
  command
    .argument('<instance>', 'its id, the beginning of its id, or its Name')
    .option('--no-wait', `return as soon as it ${verb}`)
    .option('--json', 'print what it is then as JSON')
  withSettings(command).action(async (wanted: string) => {
    const { settings, api } = await openRunningCloud(settingsOf(command))
    const changed = await withStore(settings, async (store) => {
      const instance = findInstance(await listInstances(store), wanted)
      return change({ api, store, clock: systemClock, terminal, settings }, instance, command.opts().wait !== false)
    })
    if (command.opts().json) terminal.out(JSON.stringify(changed, null, 2))
    else terminal.say(`${changed.instanceId} is ${changed.state}${changed.isHibernated ? ' (hibernated)' : ''}`)
  })
}

/** Starts an instance. @throws Error with why it went back to stopped, or that its zone is not available; ApiError. */
export async function startInstance(
  ambient: Ambient,
  instance: Instance,
  { isCold, wait }: { isCold: boolean; wait: boolean },
): Promise<Changed> {
  const id = instance.instanceId
  await requireZone(ambient.store, ambient.settings, instance)
  if (isCold && instance.isHibernated) await forgetMemory(ambient, id)
  await ambient.api.call('StartInstances', { 'InstanceId.1': id })
  const wakes = instance.isHibernated && !isCold
  return untilState(ambient, id, { to: 'running', over: ['pending'], what: `${id} ${wakes ? 'wakes' : 'starts'}`, wait })
}

/**
 * Stops an instance. In a zone that is not available it stays stopping until the heal, which is not waited for.
 *
 * @throws Error also when it is left like that; ApiError.
 */
export async function stopInstance(
  ambient: Ambient,
  instance: Instance,
  { hibernate, force, wait }: { hibernate: boolean; force: boolean; wait: boolean },
): Promise<Changed> {
  const id = instance.instanceId
  await ambient.api.call('StopInstances', {
    'InstanceId.1': id, ...(hibernate ? { Hibernate: 'true' } : {}), ...(force ? { Force: 'true' } : {}),
  })
  const changed = await untilState(
    ambient, id, { to: 'stopped', over: ['stopping', 'running'], what: `${id} ${hibernate ? 'hibernates' : 'stops'}`, wait },
  )
  if (hibernate && wait && !changed.isHibernated) {
    const { reason } = await instanceStateOf(ambient.api, id)
    throw new Error(`${id} is stopped, and was not hibernated: ${reason ?? 'no reason is known'}`)
  }
  return changed
}

/** Drops what was in the memory of a hibernated instance, which is about to be started: first it is asked whether it could be. */
async function forgetMemory({ api, store, clock }: Ambient, instanceId: string): Promise<void> {
  await api.call('StartInstances', { 'InstanceId.1': instanceId, DryRun: 'true' }).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.code !== 'DryRunOperation') throw error
  })
  await store.transaction('start.cold', (db) => giveUpMemory({ db, nowMs: clock.now() }, instanceId))
}

async function zoneTroubleOf(store: Store, settings: Ambient['settings'], instanceId: string): Promise<string | undefined> {
  const row = await store.read((db) =>
    db.selectFrom('instances').select('zone').where('instance_id', '=', instanceId).executeTakeFirst())
  return row && zoneTrouble(store, settings, { instanceId, zone: row.zone })
}

async function untilState(
  { api, store, clock, terminal, settings }: Ambient,
  instanceId: string,
  { to, over, what, wait }: { to: string; over: readonly string[]; what: string; wait: boolean },
): Promise<Changed> {
  const look = async () => {
    const { state, reason } = await instanceStateOf(api, instanceId)
    if (state === to) return state
    const trouble = wait ? await zoneTroubleOf(store, settings, instanceId) : undefined
    if (trouble !== undefined) throw new Error(`it is ${state}, and that waits: ${trouble}`)
    if (over.includes(state)) return state
    throw new Error(`${instanceId} is ${state}: ${reason ?? 'no reason is known'}`)
  }
  const state = wait
    ? await withProgress(clock, terminal, what, () =>
        waitFor(clock, `${instanceId} to be ${to}`, TIMEOUT_MS, async () => (await look()) === to && to, LOOK_MS))
    : await look()
  const row = await store.read((db) =>
    db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst())
  return { instanceId, state, isHibernated: row !== undefined && isHibernated(row) }
}
