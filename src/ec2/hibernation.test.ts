import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface, insertVolume } from '../../test/support/rows.ts'
import type { InstanceDoc, SavedMemory } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { attachNetworkInterface, detachNetworkInterface } from './attach-network-interface.ts'
import { attachVolume, detachVolume } from './attach-volume.ts'
import { createNetworkInterface } from './create-network-interface.ts'
import { modifyInstanceCpuOptions } from './instance-options.ts'
import { terminateInstances } from './instance-lifecycle.ts'
import { modifyInstanceAttribute } from './modify-instance-attribute.ts'
import { modifyVolume } from './modify-volume.ts'

const MEMORY: SavedMemory = { memoryId: 'mem-1', state: 'saved', generation: 1, volumeIds: [], kmsKeyId: 'k', wrappedKey: 'w' }
const HIBERNATED = { hibernation: true, memory: MEMORY } as const

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

/** An instance with a data volume and a second interface, and a volume and an interface that are free. */
const present = (state: InstanceTable['state'], doc: Partial<InstanceDoc>) => lab.run(async (context) => {
  const instance = await insertInstance(context, { state, holds_capacity: state === 'stopped' ? 0 : 1, instance_type: 'm5.large' }, doc)
  await insertInterface(context, instance)
  const second = await insertInterface(context, instance, { device_index: 1 })
  const root = await insertVolume(context, instance)
  const data = await insertVolume(context, instance, { device: '/dev/sdf' })
  const { volume_id: freeVolume } = await insertVolume(context, undefined)
  const { NetworkInterface } = await createNetworkInterface(context, { SubnetId: instance.subnet_id })
  return {
    id: instance.instance_id, root: root.volume_id, data: data.volume_id, freeVolume,
    freeInterface: NetworkInterface?.NetworkInterfaceId ?? '',
    attachment: (JSON.parse(second.doc) as { attachmentId: string }).attachmentId,
  }
})

const refused = (id: string, what: string) =>
  `UnsupportedOperation: The instance '${id}' is hibernated, and so ${what} cannot be changed. Start it, and stop it without hibernation first.`

describe('a hibernated instance', () => {
  it('keeps its volumes and interfaces, and takes no others', async () => {
    const { id, root, data, freeVolume, freeInterface, attachment } = await present('stopped', HIBERNATED)
    const what = refused(id, 'what is attached to it')
    expect(await lab.failure(attachVolume, { InstanceId: id, VolumeId: freeVolume, Device: '/dev/sdg' })).toBe(what)
    expect(await lab.failure(detachVolume, { VolumeId: root })).toBe(what)
    expect(await lab.failure(detachVolume, { VolumeId: data, Force: true })).toBe(what)
    const attach = { InstanceId: id, NetworkInterfaceId: freeInterface, DeviceIndex: 2 }
    expect(await lab.failure(attachNetworkInterface, attach)).toBe(what)
    expect(await lab.failure(detachNetworkInterface, { AttachmentId: attachment })).toBe(what)
  })

  it('has volumes of the size that its memory knows; what they are promised may change', async () => {
    const { id, data } = await present('stopped', HIBERNATED)
    expect(await lab.failure(modifyVolume, { VolumeId: data, Size: 20 })).toBe(refused(id, 'the size of its volumes'))
    expect(await lab.failure(modifyVolume, { VolumeId: data, Iops: 4000 })).toBe('no failure')
  })

  it.each([
    ['its instance type', { InstanceType: { Value: 'm5.xlarge' } }], ['its user data', { UserData: { Value: Buffer.from('x') } }],
    ['its EBS optimization', { EbsOptimized: { Value: true } }], ['its network driver', { EnaSupport: { Value: true } }],
    ['its network driver', { SriovNetSupport: { Value: 'simple' } }], ['its enclave', { EnclaveOptions: { Enabled: false } }],
  ])('keeps %s (%o)', async (what, change) => {
    const { id } = await present('stopped', HIBERNATED)
    expect(await lab.failure(modifyInstanceAttribute, { InstanceId: id, ...change })).toBe(refused(id, what))
  })

  it('keeps its CPU options', async () => {
    const { id } = await present('stopped', HIBERNATED)
    expect(await lab.failure(modifyInstanceCpuOptions, { InstanceId: id, CoreCount: 1, ThreadsPerCore: 1 })).toBe(
      refused(id, 'its CPU options'))
  })

  it('can be protected, and terminated', async () => {
    const { id } = await present('stopped', HIBERNATED)
    expect(await lab.failure(modifyInstanceAttribute, { InstanceId: id, DisableApiStop: { Value: false } })).toBe('no failure')
    await lab.call(terminateInstances, { InstanceIds: [id] })
    expect((await lab.row(id)).state).toBe('shutting-down')
  })
})

it.each<[InstanceTable['state'], Partial<InstanceDoc>, boolean]>([
  ['stopping', { hibernate: true }, true], ['stopping', { hibernate: true, force: true }, false], ['stopping', {}, false],
  ['pending', { memory: MEMORY }, true], ['pending', { memory: { ...MEMORY, state: 'consumed' } }, true], ['pending', { memory: null }, false],
  ['running', { hibernation: true }, false], ['stopped', { hibernation: true }, false],
])('volumes are detached while %s with %o: not so is %s', async (state, doc, isRefused) => {
  const { data } = await present(state, doc)
  expect(await lab.failure(detachVolume, { VolumeId: data })).toMatch(isRefused ? /^UnsupportedOperation/ : /^no failure/)
})
