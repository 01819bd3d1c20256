import { maxInterfacesOf } from '../catalogue/instance-types.ts'
import type { GuestArchitecture, MachineSpec } from '../hypervisor/driver.ts'
import { changeInstanceDoc, currentBootMode, type InstanceDoc } from '../model/instance.ts'
import { forMachine } from './attached-volumes.ts'
import { diskSpecs } from './disks.ts'
import { nicSpecs } from './interfaces.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { shrinkToHost } from './shrink.ts'

/** What the instance's image needs of a machine. */
function guestOf(doc: InstanceDoc): { architecture: GuestArchitecture; firmware: 'bios' | 'uefi' } {
  return {
    architecture: doc.architecture === 'arm64' ? 'arm64' : 'x86_64', firmware: currentBootMode(doc) === 'uefi' ? 'uefi' : 'bios',
  }
}

/**
 * Writes down, before a start without saved memory: the hardware, which must not change after the first one, and that the
 * disks are about to move on, so that no memory of before goes with them any more. The guest has to be heard of anew.
 */
export async function noteColdStart(
  options: InstanceReconcilerOptions,
  { row, doc }: LoadedInstance,
  change: Partial<InstanceDoc> = {},
): Promise<InstanceDoc> {
  const promised = { vcpus: row.vcpus, memoryMib: row.memory_mib }
  const real = shrinkToHost(promised, options.limits)
  const isShrunk = real.vcpus < promised.vcpus || real.memoryMib < promised.memoryMib
  const noted = {
    platform: doc.platform ?? (await options.hypervisor.platform(guestOf(doc))),
    granted: isShrunk ? real : null,
    generation: (doc.generation ?? 0) + 1,
    memory: null,
    startedMs: options.clock.now(), contactMs: null, checks: null,
    ...change,
  } satisfies Partial<InstanceDoc>
  await options.store.transaction('instance.pin', async (db) => {
    await changeInstanceDoc(db, row.instance_id, noted)
    if (isShrunk && JSON.stringify(doc.granted) !== JSON.stringify(real)) {
      const value = `${real.vcpus} of ${promised.vcpus} vCPUs, ${real.memoryMib} of ${promised.memoryMib} MiB`
      await db
        .insertInto('tags')
        .values({ account_id: row.account_id, resource_type: 'instance', resource_id: row.instance_id, key: 'hearth:shrunk', value })
        .onConflict((conflict) => conflict.columns(['resource_id', 'account_id', 'key']).doUpdateSet({ value }))
        .execute()
    }
  })
  return { ...doc, ...noted }
}

/** The machine of an instance whose hardware is written down. */
export async function machineSpec(options: InstanceReconcilerOptions, loaded: LoadedInstance, doc: InstanceDoc): Promise<MachineSpec> {
  const { network } = options
  const { row } = loaded
  if (row.slot === null || doc.platform === null || loaded.vpcSlot === undefined) {
    throw new Error(`${row.instance_id} has no slot on this host`)
  }
  return {
    instanceId: row.instance_id,
    uuid: doc.uuid,
    slot: row.slot,
    vcpus: doc.granted?.vcpus ?? row.vcpus,
    memoryMib: doc.granted?.memoryMib ?? row.memory_mib,
    platform: doc.platform,
    disks: await diskSpecs(options, forMachine(loaded.volumes)),
    nics: nicSpecs(network, loaded.interfaces),
    // A type that was changed may allow fewer than there are.
    maxNics: Math.max(maxInterfacesOf(row.instance_type), loaded.interfaces.length),
    netnsPath: network.netnsPathOf(loaded.vpcSlot),
  }
}
