import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { MachineSpec, NicSpec } from './driver.ts'
import { SimDisks } from './sim-disks.ts'
import type { SimLayers } from './sim-layers.ts'
import type { SimMachine, SimNic, SimProcess, Task } from './sim-machine.ts'
import { draw, type DelayRange } from './sim-pauses.ts'

/** How long simulated guests take, by themselves. */
export interface SimGuestDelays {
  /** From the process's start to the login prompt on the console. */
  bootMs: DelayRange
  /** From the power button to the guest's power-off. */
  shutdownMs: DelayRange
  /** From the request to give up an interface or a disk until the guest has. */
  unplugMs: DelayRange
  /** For the job that makes a disk of fewer layers; no time by default. */
  streamMs?: DelayRange
}

export interface SimGuestsOptions {
  clock: Clock
  random: Random
  delays: SimGuestDelays
  layers: SimLayers
}

const FIRST_PID = 1000

/** The machines of a simulated host, what their guests will do in their own time, and who is told of what happens to them. */
export class SimGuests {
  /** By instance id. */
  readonly machines = new Map<string, SimMachine>()
  readonly clock: Clock
  readonly random: Random
  readonly delays: SimGuestDelays
  readonly layers: SimLayers
  readonly #watchers = new Set<(instanceId: string) => void>()
  #lastPid = FIRST_PID

  constructor({ clock, random, delays, layers }: SimGuestsOptions) {
    this.clock = clock
    this.random = random
    this.delays = delays
    this.layers = layers
  }

  /** Calls `watcher` when something happens to a machine; returns what ends that. */
  watch(watcher: (instanceId: string) => void): () => void {
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }

  /** A machine with a new process, of which nobody has seen anything. @throws Error where QEMU would fail too. */
  begin(spec: MachineSpec): SimMachine & { process: SimProcess } {
    const disks = new SimDisks(spec.instanceId, this.layers, spec.disks)
    const known = this.machines.get(spec.instanceId) ??
      { instanceId: spec.instanceId, spec, process: null, console: '', serial: null, authorizedKeys: new Map(), boots: 0, images: new Map(),
        tasks: new Set() }
    const pid = ++this.#lastPid
    const process: SimProcess = {
      pid, startedAtMs: this.clock.now(), status: 'running', memory: { bootId: pid, counter: 0 }, loaded: null,
      nics: new Map(spec.nics.map((nic) => [nic.attachmentId, plugged(nic)])), disks, unwritten: [], held: [],
    }
    const machine = Object.assign(known, { spec, process })
    this.machines.set(spec.instanceId, machine)
    return machine
  }

  /** What a guest does in its own time: never, if it hangs, and when it goes on, if it stands still. */
  later(machine: SimMachine, range: DelayRange, run: () => void): void {
    const delayMs = draw(this.random, range)
    // A guest that hangs never does it.
    if (machine.process?.hangs) return
    if (machine.process?.status === 'paused' || machine.process?.frozenMs !== undefined) machine.process.held.push(run)
    else if (delayMs === 0) run()
    else {
      const timer = this.clock.after(delayMs, () => {
        machine.tasks.delete(task)
        run()
      })
      const task: Task = { run, timer }
      machine.tasks.add(task)
    }
  }

  /** Whatever it was about to do, it does not do. */
  rest(machine: SimMachine): void {
    for (const { timer } of machine.tasks) timer.cancel()
    machine.tasks.clear()
  }

  /** Tells all who watch that something has happened to a machine. */
  changed(instanceId: string): void {
    for (const watcher of this.#watchers) watcher(instanceId)
  }
}

/** What the guest writes to its console: kept, and shown to who sits there. */
export function print(machine: SimMachine, text: string): void {
  machine.console += text
  machine.serial?.show(text)
}

/** An interface as it is when it comes. */
export function plugged(spec: NicSpec): SimNic {
  return { spec, hasLink: true, isLeaving: false }
}
