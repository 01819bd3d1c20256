import type { MachineSpec, MemoryImage } from './driver.ts'
import type { SimGuestDisks } from './sim-guest-disks.ts'
import type { SimGuests } from './sim-guests.ts'
import { topOf } from './sim-layers.ts'
import { staleDisks, textOf, type SavedGuest } from './sim-memory.ts'

/** The memory of a simulated host's machines: how it is saved, and guests go on with it. */
export class SimGuestMemory {
  /** What must never have happened to any guest, in words. */
  readonly harm: string[] = []
  readonly #guests: SimGuests
  readonly #disks: SimGuestDisks
  /** Ids of memory that a guest went on with. */
  readonly #consumed = new Set<string>()

  constructor(guests: SimGuests, disks: SimGuestDisks) {
    this.#guests = guests
    this.#disks = disks
  }

  /** How many guests have gone on with memory that was loaded. */
  get resumed(): number {
    return this.#consumed.size
  }

  /** Has the guest stand still. */
  pause(instanceId: string): void {
    const machine = this.#guests.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.process.status = 'paused'
    machine.process.held.push(...[...machine.tasks].map((task) => task.run))
    this.#guests.rest(machine)
  }

  /** Begins the file of its memory; nobody can load it before `endSaving`. */
  beginSaving(instanceId: string, { memoryId, key, binding }: MemoryImage): void {
    this.#guests.machines.get(instanceId)?.images.set(memoryId, { key, binding, saved: null })
  }

  /** Writes all that a guest that stands still has in its memory. */
  endSaving(instanceId: string, memoryId: string): void {
    const machine = this.#guests.machines.get(instanceId)
    const image = machine?.images.get(memoryId)
    if (!machine?.process || !image) return
    const { memory, unwritten, held, disks, nics } = machine.process
    image.saved = {
      memory: { ...memory }, unwritten: [...unwritten], held: [...held],
      disks: new Map([...disks.all].map(([volumeId, { spec }]) => [volumeId, textOf(this.#disks.dataOf(topOf(spec)))])),
      nics: [...nics.keys()],
    }
  }

  /** Starts a process with what was in a guest's memory; the guest stands still. */
  load(spec: MachineSpec, memoryId: string, saved: SavedGuest): void {
    const { process } = this.#guests.begin(spec)
    process.status = 'paused'
    process.memory = { ...saved.memory }
    process.unwritten.push(...saved.unwritten)
    process.held.push(...saved.held)
    process.loaded = { memoryId, saved }
  }

  /** A guest that stands still goes on. */
  letGo(instanceId: string): void {
    const machine = this.#guests.machines.get(instanceId)
    const process = machine?.process
    if (process?.status !== 'paused') return
    if (process.loaded) {
      const { memoryId, saved } = process.loaded
      const shown = (volumeId: string) => this.#disks.show(process, volumeId)
      this.harm.push(...staleDisks(saved, shown).map((each) => `${instanceId}: ${each}`))
      if (this.#consumed.has(memoryId)) this.harm.push(`${instanceId} goes on a second time with ${memoryId}`)
      this.#consumed.add(memoryId)
      process.loaded = null
    }
    process.status = 'running'
    process.outOfSpace = process.unwritten.length > 0
    this.#disks.resume(instanceId)
    for (const run of process.held.splice(0)) run()
    this.#guests.changed(instanceId)
  }

  /** Deletes memory that is in files. */
  forget(instanceId: string): void {
    this.#guests.machines.get(instanceId)?.images.clear()
  }
}
