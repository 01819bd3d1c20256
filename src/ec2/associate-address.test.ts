import type { Instance } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { associateAddress, disassociateAddress } from './associate-address.ts'
import { assignPrivateIpAddresses, unassignPrivateIpAddresses } from './private-ip-addresses.ts'
import { startInstances } from './instance-lifecycle.ts'

let lab: InterfaceLab
let instance: Instance
let address: { AllocationId: string; PublicIp: string }
beforeEach(async () => {
  lab = await openInterfaceLab()
  instance = await lab.running()
  address = await lab.allocate()
})

const interfaceIdOf = (of: Instance) => of.NetworkInterfaces?.[0]?.NetworkInterfaceId ?? ''
const associate = (to: Instance, more: object = {}) =>
  lab.call(associateAddress, { AllocationId: address.AllocationId, InstanceId: to.InstanceId, ...more })
const publicIpOf = async (of: Instance) => (await lab.describe(of)).PublicIpAddress
const isDue = async (of: Instance) => {
  const row = await lab.interfaceRow(interfaceIdOf(of))
  return row.revision !== row.synced_revision
}

describe('AssociateAddress', () => {
  it('takes the place of the automatic address, and is shown as the account’s', async () => {
    const automatic = instance.PublicIpAddress
    const { AssociationId } = await associate(instance)
    const after = await lab.describe(instance)
    expect(after.PublicIpAddress).toBe(address.PublicIp)
    expect(after.PublicIpAddress).not.toBe(automatic)
    const { Association } = await lab.describeInterface(interfaceIdOf(instance))
    expect(Association).toEqual({
      AllocationId: address.AllocationId, AssociationId, IpOwnerId: '123456789012', PublicIp: address.PublicIp,
      PublicDnsName: `ec2-${address.PublicIp.replaceAll('.', '-')}.compute-1.amazonaws.com`,
    })
    expect(await isDue(instance)).toBe(true)
    expect(await lab.work()).toContain(`ports ${instance.VpcId}`)
  })

  it('is the same again for the same', async () => {
    const { AssociationId } = await associate(instance)
    expect(await associate(instance, { AllowReassociation: false })).toEqual({ AssociationId })
  })

  it('moves between running instances, of which the old one gets an automatic address', async () => {
    const other = await lab.running()
    await associate(instance)
    await lab.syncPorts()
    await associate(other)
    expect(await publicIpOf(other)).toBe(address.PublicIp)
    expect(await publicIpOf(instance)).toMatch(/^198\.18\./)
    expect(await publicIpOf(instance)).not.toBe(address.PublicIp)
    expect([await isDue(instance), await isDue(other)]).toEqual([true, true])
  })

  it('stays where it is, when it may not move', async () => {
    const other = await lab.running()
    const { AssociationId } = await associate(instance)
    expect(await lab.failure(associateAddress, {
      AllocationId: address.AllocationId, InstanceId: other.InstanceId, AllowReassociation: false,
    })).toBe(`Resource.AlreadyAssociated: resource ${address.AllocationId} is already associated with associate-id ${AssociationId}`)
  })

  it('takes the place of another Elastic IP, which is free then', async () => {
    await associate(instance)
    const second = await lab.allocate()
    const input = { AllocationId: second.AllocationId, NetworkInterfaceId: interfaceIdOf(instance) }
    expect(await lab.failure(associateAddress, { ...input, AllowReassociation: false })).toMatch(/^Resource.AlreadyAssociated: resource eni-/)
    await lab.call(associateAddress, input)
    expect(await publicIpOf(instance)).toBe(second.PublicIp)
    const other = await lab.running()
    await associate(other, { AllowReassociation: false })
    expect(await publicIpOf(other)).toBe(address.PublicIp)
  })

  it('belongs to a secondary address where that is named, beside the automatic one', async () => {
    const NetworkInterfaceId = interfaceIdOf(instance)
    await lab.call(assignPrivateIpAddresses, { NetworkInterfaceId, PrivateIpAddresses: ['172.31.0.99'] })
    await associate(instance, { PrivateIpAddress: '172.31.0.99' })
    expect(await publicIpOf(instance)).toBe(instance.PublicIpAddress)
    const { PrivateIpAddresses: shown } = await lab.describeInterface(NetworkInterfaceId)
    expect(shown?.map((each) => [each.PrivateIpAddress, each.Association?.PublicIp, each.Primary])).toEqual([
      [instance.PrivateIpAddress, instance.PublicIpAddress, true], ['172.31.0.99', address.PublicIp, false],
    ])
    await lab.call(unassignPrivateIpAddresses, { NetworkInterfaceId, PrivateIpAddresses: ['172.31.0.99'] })
    await associate(await lab.running(), { AllowReassociation: false })
  })

  it('wants a gateway to the internet in the VPC', async () => {
    const { subnetId, vpcId } = await lab.addVpc()
    const hidden = await lab.running({ SubnetId: subnetId })
    expect(await lab.failure(associateAddress, { AllocationId: address.AllocationId, InstanceId: hidden.InstanceId })).toBe(
      `Gateway.NotAttached: Network ${vpcId} is not attached to any internet gateway`)
  })

  it('waits for an instance to be up', async () => {
    const pending = await lab.launch()
    const failure = (input: object) => lab.failure(associateAddress, { AllocationId: address.AllocationId, ...input })
    const message = `The pending instance '${pending.InstanceId}' is not in a valid state for this operation.`
    expect(await failure({ InstanceId: pending.InstanceId })).toBe(`IncorrectInstanceState: ${message}`)
    expect(await failure({ NetworkInterfaceId: interfaceIdOf(pending) })).toBe(`IncorrectInstanceState: ${message}`)
    await lab.terminate(instance)
    expect(await failure({ InstanceId: instance.InstanceId })).toMatch(/^IncorrectInstanceState: The terminated instance/)
  })

  it('wants one thing named, that exists', async () => {
    const failure = (input: object) => lab.failure(associateAddress, input)
    const { AllocationId } = address
    expect(await failure({ AllocationId })).toMatch(/^MissingParameter/)
    expect(await failure({ InstanceId: instance.InstanceId })).toMatch(/^MissingParameter/)
    expect(await failure({ AllocationId, InstanceId: 'i-1', NetworkInterfaceId: 'eni-1' })).toMatch(/^InvalidParameterCombination/)
    expect(await failure({ AllocationId: 'eipalloc-1', InstanceId: 'i-1' })).toMatch(/^InvalidAllocationID.NotFound/)
    expect(await failure({ AllocationId, InstanceId: 'i-00000000000000000' })).toMatch(/^InvalidInstanceID.NotFound/)
    expect(await failure({ AllocationId, InstanceId: instance.InstanceId, PrivateIpAddress: '172.31.0.98' })).toMatch(/^InvalidParameterValue/)
    expect(await lab.call(associateAddress, { PublicIp: address.PublicIp, InstanceId: instance.InstanceId })).toHaveProperty('AssociationId')
  })
})

describe('DisassociateAddress', () => {
  it('gives the running instance an automatic address again', async () => {
    const { AssociationId } = await associate(instance)
    await lab.syncPorts()
    await lab.call(disassociateAddress, { AssociationId })
    expect(await publicIpOf(instance)).toMatch(/^198\.18\./)
    expect(await publicIpOf(instance)).not.toBe(address.PublicIp)
    expect(await isDue(instance)).toBe(true)
    expect(await lab.failure(disassociateAddress, { AssociationId })).toBe(
      `InvalidAssociationID.NotFound: The association ID '${AssociationId}' does not exist`)
  })

  it('gives none to an instance with several interfaces', async () => {
    const two = await lab.running({
      NetworkInterfaces: [0, 1].map((DeviceIndex) => ({ DeviceIndex, SubnetId: lab.subnet.subnet_id })),
    })
    const { AssociationId } = await lab.call(associateAddress, {
      AllocationId: address.AllocationId, NetworkInterfaceId: interfaceIdOf(two),
    })
    expect(await publicIpOf(two)).toBe(address.PublicIp)
    await lab.call(disassociateAddress, { AssociationId })
    expect(await publicIpOf(two)).toBeUndefined()
  })

  it('wants the association id', async () => {
    await associate(instance)
    expect(await lab.failure(disassociateAddress, {})).toMatch(/^MissingParameter/)
    expect(await lab.failure(disassociateAddress, { PublicIp: address.PublicIp })).toBe(
      'InvalidParameterValue: You must specify an association id when unmapping an address from a VPC instance')
  })
})

describe('an Elastic IP', () => {
  it('stays over stop and start, unlike an automatic address', async () => {
    const other = await lab.running()
    await associate(instance)
    for (const each of [instance, other]) await lab.stop(each)
    expect([await publicIpOf(instance), await publicIpOf(other)]).toEqual([address.PublicIp, undefined])
    await lab.call(startInstances, { InstanceIds: [instance.InstanceId ?? '', other.InstanceId ?? ''] })
    expect(await publicIpOf(instance)).toBe(address.PublicIp)
    expect(await publicIpOf(other)).toMatch(/^198\.18\./)
  })

  it('is free when its instance is terminated', async () => {
    await associate(instance)
    await lab.terminate(instance)
    const other = await lab.running()
    await associate(other, { AllowReassociation: false })
    expect(await publicIpOf(other)).toBe(address.PublicIp)
  })
})
