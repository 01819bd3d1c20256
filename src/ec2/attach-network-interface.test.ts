import type { Instance } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { insertInterface, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { interfaceDoc } from '../model/interface.ts'
import { attachNetworkInterface, detachNetworkInterface } from './attach-network-interface.ts'
import { deleteNetworkInterface } from './create-network-interface.ts'
import { startInstances } from './instance-lifecycle.ts'
import { modifyNetworkInterfaceAttribute } from './network-interface-attributes.ts'

let lab: InterfaceLab
let instance: Instance
let spare: string
beforeEach(async () => {
  lab = await openInterfaceLab()
  instance = await lab.running()
  spare = (await lab.create()).NetworkInterfaceId ?? ''
})

const attach = (to: Instance = instance, deviceIndex = 1, interfaceId = spare) => lab.call(attachNetworkInterface, {
  InstanceId: to.InstanceId, NetworkInterfaceId: interfaceId, DeviceIndex: deviceIndex,
})
const failure = (change: object = {}) => lab.failure(attachNetworkInterface, {
  InstanceId: instance.InstanceId, NetworkInterfaceId: spare, DeviceIndex: 1, ...change,
})
const slotsOf = (id: string) => lab.run(async ({ db }) =>
  (await db.selectFrom('slots').select('slot').where('owner_id', '=', id).execute()).map((each) => each.slot))

describe('AttachNetworkInterface', () => {
  it('asks for a port with a slot of its own, for a running instance', async () => {
    const { AttachmentId, NetworkCardIndex } = await attach()
    expect([AttachmentId, NetworkCardIndex]).toEqual([expect.stringMatching(/^eni-attach-[0-9a-f]{17}$/), 0])
    const row = await lab.interfaceRow(spare)
    expect(row).toMatchObject({ status: 'pending', wanted: 1, ready: 0, device_index: 1, delete_on_termination: 0, host_id: 'host-1' })
    expect(await slotsOf(spare)).toEqual([row.slot])
    expect(row.revision).not.toBe(row.synced_revision)
    expect(await lab.work()).toContain(`ports ${instance.VpcId}`)
    expect((await lab.describeInterface(spare)).Attachment).toMatchObject({
      AttachmentId, DeviceIndex: 1, InstanceId: instance.InstanceId, Status: 'attaching', DeleteOnTermination: false,
    })
  })

  it('shows the interfaces of an instance by their device index, and addresses of the primary one', async () => {
    await attach()
    const { NetworkInterfaces: nics, PrivateIpAddress, PublicIpAddress } = await lab.describe(instance)
    expect(nics?.map((each) => each.Attachment?.DeviceIndex)).toEqual([0, 1])
    expect([PrivateIpAddress, PublicIpAddress]).toEqual([instance.PrivateIpAddress, instance.PublicIpAddress])
  })

  it('waits for the start of a stopped instance', async () => {
    await lab.stop(instance)
    await attach()
    expect(await lab.interfaceRow(spare)).toMatchObject({ status: 'in-use', wanted: 0, host_id: 'host-1' })
    await lab.call(startInstances, { InstanceIds: [instance.InstanceId ?? ''] })
    expect(await lab.interfaceRow(spare)).toMatchObject({ wanted: 1, ready: 0 })
    // With two interfaces there is no automatic address any more.
    expect((await lab.describe(instance)).PublicIpAddress).toBeUndefined()
  })

  it('refuses what is in use, taken, or too much for the type', async () => {
    await attach()
    expect(await failure()).toBe(`InvalidNetworkInterface.InUse: Interface: [${spare}] in use.`)
    const other = { NetworkInterfaceId: (await lab.create()).NetworkInterfaceId }
    expect(await failure(other)).toBe(
      `InvalidParameterValue: Instance '${instance.InstanceId}' already has an interface attached at device index '1'.`)
    expect(await failure({ ...other, DeviceIndex: 0 })).toMatch(/device index '0'/)
    expect(await failure({ ...other, DeviceIndex: 2 })).toBe('AttachmentLimitExceeded: Interface count 3 exceeds the limit for t3.micro')
    expect(await failure({ ...other, DeviceIndex: 32 })).toMatch(/^InvalidParameterValue: Value \(32\)/)
  })

  it('refuses more addresses than the type allows on an interface', async () => {
    const { NetworkInterfaceId } = await lab.create({ SecondaryPrivateIpAddressCount: 2 })
    expect(await failure({ NetworkInterfaceId })).toBe('PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.')
  })

  it('attaches within a zone and a VPC', async () => {
    const { subnet_id: elsewhere } = await lab.run(({ db }) =>
      db.selectFrom('subnets').select('subnet_id').where('zone', '=', 'us-east-1b').executeTakeFirstOrThrow())
    expect(await failure({ NetworkInterfaceId: (await lab.create({ SubnetId: elsewhere })).NetworkInterfaceId })).toBe(
      'InvalidParameterCombination: You may not attach a network interface to an instance if they are not in the same availability zone')
    const { subnetId } = await lab.addVpc()
    expect(await failure({ NetworkInterfaceId: (await lab.create({ SubnetId: subnetId })).NetworkInterfaceId })).toMatch(/^UnsupportedOperation/)
  })

  it('refuses an instance that is going, and one of somebody else', async () => {
    await lab.terminate(instance)
    expect(await failure()).toMatch(/^IncorrectInstanceState/)
    expect(await failure({ InstanceId: 'i-00000000000000000' })).toMatch(/^InvalidInstanceID.NotFound/)
    await lab.run(({ db }) => db.updateTable('interfaces').set({ account_id: OTHER_ACCOUNT }).execute())
    expect(await failure()).toMatch(/^InvalidNetworkInterfaceID.NotFound/)
  })

  it('says that cards and queues are not honoured', async () => {
    for (const input of [{ NetworkCardIndex: 1 }, { EnaQueueCount: 2 }, { EnaSrdSpecification: { EnaSrdEnabled: true } }]) {
      expect(await failure(input)).toMatch(/^UnsupportedOperation/)
    }
  })
})

describe('DetachNetworkInterface', () => {
  it('has a running guest give it up', async () => {
    const { AttachmentId } = await attach()
    await lab.syncPorts()
    await lab.call(detachNetworkInterface, { AttachmentId })
    expect(await lab.describeInterface(spare)).toMatchObject({
      Status: 'detaching', Attachment: { Status: 'detaching', InstanceId: instance.InstanceId },
    })
    expect(await lab.interfaceRow(spare)).toMatchObject({ wanted: 1, instance_id: instance.InstanceId })
    expect(await lab.work()).toContain(`instance ${instance.InstanceId}`)
    await lab.call(detachNetworkInterface, { AttachmentId, Force: true })
    expect(interfaceDoc(await lab.interfaceRow(spare)).forceDetach).toBe(true)
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId: spare })).toMatch(/^InvalidParameterValue/)
  })

  it('frees it at once where the instance is stopped, slot and all', async () => {
    const { AttachmentId } = await attach()
    await lab.syncPorts()
    await lab.stop(instance)
    await lab.call(detachNetworkInterface, { AttachmentId })
    expect(await lab.interfaceRow(spare)).toMatchObject({ status: 'available', instance_id: null, host_id: null, slot: null })
    expect(await slotsOf(spare)).toEqual([])
    expect((await lab.describeInterface(spare)).Attachment).toBeUndefined()
    await attach(await lab.running())
    expect(await lab.failure(detachNetworkInterface, { AttachmentId })).toBe(
      `InvalidAttachmentID.NotFound: The interface attachment '${AttachmentId}' does not exist`)
  })

  it('leaves the primary interface', async () => {
    const { Attachment } = await lab.describeInterface(instance.NetworkInterfaces?.[0]?.NetworkInterfaceId)
    expect(await lab.failure(detachNetworkInterface, { AttachmentId: Attachment?.AttachmentId, Force: true })).toBe(
      'OperationNotPermitted: The network interface at device index 0 cannot be detached.')
  })

  it("leaves a NAT gateway's", async () => {
    expect(await lab.failure(detachNetworkInterface, { AttachmentId: 'ela-attach-00000000000000000' })).toBe(
      "OperationNotPermitted: You are not allowed to manage 'ela-attach' attachments.")
  })
})

describe('an attached interface', () => {
  it('stays when its instance is terminated, unless it says otherwise', async () => {
    const big = await lab.running({ InstanceType: 't3.medium' })
    const doomed = (await lab.create()).NetworkInterfaceId ?? ''
    await attach(big)
    const { AttachmentId } = await attach(big, 2, doomed)
    await lab.call(modifyNetworkInterfaceAttribute, {
      NetworkInterfaceId: doomed, Attachment: { AttachmentId, DeleteOnTermination: true },
    })
    await lab.syncPorts()
    await lab.terminate(big)
    expect(await lab.interfaceRow(spare)).toMatchObject({ status: 'available', instance_id: null, host_id: null })
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId: doomed })).toMatch(/^InvalidNetworkInterfaceID.NotFound/)
  })

  it('is available when its instance stops or ends while it is being detached', async () => {
    const { AttachmentId } = await attach()
    await lab.syncPorts()
    await lab.call(detachNetworkInterface, { AttachmentId, Force: true })
    await lab.stop(instance)
    expect(await lab.interfaceRow(spare)).toMatchObject({ status: 'available', instance_id: null })
    expect(interfaceDoc(await lab.interfaceRow(spare)).forceDetach).toBeUndefined()
    expect((await lab.describe(instance)).NetworkInterfaces).toHaveLength(1)
  })

  it('has a place on its host until its port is gone', async () => {
    const { AttachmentId } = await attach()
    await lab.call(detachNetworkInterface, { AttachmentId })
    await lab.run(({ db }) => db.updateTable('interfaces').set({ status: 'available', instance_id: null })
      .where('interface_id', '=', spare).execute())
    expect(await lab.describeInterface(spare)).toMatchObject({ Status: 'detaching' })
    expect(await failure()).toMatch(/^InvalidNetworkInterface.InUse/)
  })
})

describe('the interface of a NAT gateway', () => {
  it('is shown as EC2 shows it, and changed by the gateway alone', async () => {
    const nat = await lab.run(async (context) => {
      const row = await context.db.selectFrom('instances').selectAll().executeTakeFirstOrThrow()
      if (row.vpc_id === null || row.subnet_id === null) throw new Error('a terminated instance')
      return insertInterface(context, { ...row, vpc_id: row.vpc_id, subnet_id: row.subnet_id }, {
        instance_id: null, requester_id: 'nat-00000000000000000', private_ip: '172.31.0.200',
      })
    })
    const NetworkInterfaceId = nat.interface_id
    expect(await lab.describeInterface(NetworkInterfaceId)).toMatchObject({
      InterfaceType: 'nat_gateway', RequesterId: PROVIDER_ACCOUNT, RequesterManaged: true, Status: 'in-use',
      Attachment: { AttachmentId: NetworkInterfaceId.replace('eni', 'ela-attach'), InstanceOwnerId: 'amazon-aws', Status: 'attached' },
    })
    expect(await failure({ NetworkInterfaceId })).toMatch(/^OperationNotPermitted/)
    expect(await lab.failure(modifyNetworkInterfaceAttribute, { NetworkInterfaceId, SourceDestCheck: { Value: false } })).toMatch(/^OperationNotPermitted/)
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId })).toMatch(/^InvalidParameterValue/)
  })
})
