import type { InstanceStateChange } from '@aws-sdk/client-ec2'
import type { SimMemory } from '../hypervisor/sim-memory.ts'
import { instanceDoc } from '../model/instance.ts'
import { isHibernated } from '../model/memory.ts'
import type { CallResult, SimulatedCloud } from './simulator.ts'

/**
 * What guests had in their memory when a caller was told that they are being hibernated. Unless something befell them
 * since, or a caller wanted something else, they have it still, or it is in their file.
 */
export class MemoryExpectations {
  readonly #cloud: SimulatedCloud
  readonly #kept = new Map<string, SimMemory>()

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud
  }

  /** What is known of an instance's memory does not hold any more, or nobody can tell. */
  forget(instanceId: string): void {
    this.#kept.delete(instanceId)
  }

  /** Something is wrong with the host, and any guest may not be saved or not go on. */
  forgetAll(): void {
    this.#kept.clear()
  }

  /** After a call that changes what instances are to be. */
  async called(action: string, input: { InstanceIds: string[]; Hibernate?: boolean; Force?: boolean }, result: CallResult): Promise<void> {
    const ids = input.InstanceIds
    if (result.kind === 'refused' || action === 'StartInstances') return
    if (result.kind === 'unknown' || action !== 'StopInstances') return ids.forEach((id) => this.forget(id))
    const changes = (result.output as { StoppingInstances?: InstanceStateChange[] }).StoppingInstances ?? []
    for (const { InstanceId: id = '', PreviousState: before } of changes) {
      if (before?.Name === 'running') await this.#stops(id, input.Hibernate === true)
      else if (before?.Name === 'stopping' && input.Force) this.forget(id)
    }
  }

  async #stops(id: string, isToHibernate: boolean): Promise<void> {
    this.forget(id)
    const row = await this.#cloud.store.read((db) =>
      db.selectFrom('instances').select(['reboot_requested', 'reboot_completed']).where('instance_id', '=', id).executeTakeFirst())
    const process = this.#cloud.host.world.machines.get(id)?.process
    const isToReboot = row && row.reboot_requested > row.reboot_completed
    const mayFail = this.#cloud.host.world.hibernationFails || this.#cloud.host.world.loadingFails
    // A guest that was told to reboot shuts down, if not before it is saved, then after.
    if (isToHibernate && process?.status === 'running' && !process.hangs && !isToReboot && !mayFail) this.#kept.set(id, { ...process.memory })
  }

  /** Once all has settled. Those that go on are not expected anything of any more. */
  async check(): Promise<string[]> {
    const { store, host: { world } } = this.#cloud
    const rows = await store.read((db) => db.selectFrom('instances').selectAll().orderBy('instance_id').execute())
    const problems: string[] = []
    for (const row of rows) {
      const id = row.instance_id
      const { process, images } = world.machines.get(id) ?? {}
      const wanted = isHibernated(row) ? [instanceDoc(row).memory?.memoryId] : []
      const found = [...images?.keys() ?? []]
      if (found.join() !== wanted.join()) problems.push(`${id} is ${row.state}, has the memory ${found.join() || 'none'}, and should have ${wanted.join() || 'none'}`)
      if (process?.status === 'paused') problems.push(`${id} stands still`)
      if (row.state === 'running' && instanceDoc(row).memory) problems.push(`${id} runs, and its memory is kept`)
      const expected = this.#kept.get(id)
      const [image] = images?.values() ?? []
      const memory = process?.memory ?? image?.saved?.memory
      if (expected && (memory?.bootId !== expected.bootId || memory.counter < expected.counter)) {
        problems.push(`${id} is ${row.state} and has lost its memory: ${JSON.stringify({ expected, memory, reason: instanceDoc(row).stateReason })}`)
      }
      if (row.state === 'running') this.forget(id)
    }
    return problems
  }
}
