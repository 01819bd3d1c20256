import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { allocateAddress, describeAddresses } from './addresses.ts'
import { associateAddress } from './associate-address.ts'
import { assignPrivateIpAddresses, unassignPrivateIpAddresses } from './private-ip-addresses.ts'

let lab: InterfaceLab
let id: string
beforeEach(async () => {
  lab = await openInterfaceLab()
  const { NetworkInterfaces: [nic] = [] } = await lab.running({ InstanceType: 't3.medium' })
  id = nic?.NetworkInterfaceId ?? ''
})

const assign = (change: object, to = id) => lab.call(assignPrivateIpAddresses, { NetworkInterfaceId: to, ...change })
const failure = (change: object, to = id) => lab.failure(assignPrivateIpAddresses, { NetworkInterfaceId: to, ...change })
const secondary = async (of = id) => (await lab.describeInterface(of)).PrivateIpAddresses?.slice(1).map((each) => each.PrivateIpAddress)
const isDue = async (of = id) => {
  const row = await lab.interfaceRow(of)
  return row.revision !== row.synced_revision
}

describe('AssignPrivateIpAddresses', () => {
  it('gives the addresses named, which the port follows', async () => {
    expect(await assign({ PrivateIpAddresses: ['172.31.0.71', '172.31.0.70'] })).toEqual({
      NetworkInterfaceId: id, AssignedPrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.71' }, { PrivateIpAddress: '172.31.0.70' }],
    })
    expect(await secondary()).toEqual(['172.31.0.70', '172.31.0.71'])
    expect(await isDue()).toBe(true)
    expect(await lab.work()).toContain(`ports ${lab.subnet.vpc_id}`)
    await assign({ PrivateIpAddresses: ['172.31.0.70'] })
    expect(await secondary()).toHaveLength(2)
  })

  it('gives a number of any', async () => {
    const { AssignedPrivateIpAddresses: given } = await assign({ SecondaryPrivateIpAddressCount: 2 })
    expect(new Set(given?.map((each) => each.PrivateIpAddress))).toEqual(new Set(await secondary()))
  })

  it('keeps to the limit of the type', async () => {
    await assign({ SecondaryPrivateIpAddressCount: 5 })
    expect(await failure({ SecondaryPrivateIpAddressCount: 1 })).toBe(
      'PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.')
  })

  it('takes nobody’s address, but moves a secondary one where it may, with its Elastic IP', async () => {
    const other = await lab.create({ PrivateIpAddress: '172.31.0.80' })
    await assign({ PrivateIpAddresses: ['172.31.0.81'] }, other.NetworkInterfaceId)
    const { AllocationId, PublicIp } = await lab.call(allocateAddress, {})
    const { AssociationId } = await lab.call(associateAddress, {
      AllocationId, NetworkInterfaceId: other.NetworkInterfaceId, PrivateIpAddress: '172.31.0.81',
    })
    expect(await failure({ PrivateIpAddresses: ['172.31.0.81'] })).toMatch(/^Resource.AlreadyAssigned/)
    expect(await failure({ PrivateIpAddresses: ['172.31.0.80'], AllowReassignment: true })).toMatch(/^Resource.AlreadyAssigned/)
    await lab.syncPorts()
    await assign({ PrivateIpAddresses: ['172.31.0.81'], AllowReassignment: true })
    expect([await secondary(), await secondary(other.NetworkInterfaceId)]).toEqual([['172.31.0.81'], []])
    expect([await isDue(), await isDue(other.NetworkInterfaceId)]).toEqual([true, true])
    expect((await lab.call(describeAddresses, {})).Addresses).toMatchObject([
      { AssociationId, NetworkInterfaceId: id, PrivateIpAddress: '172.31.0.81', PublicIp },
    ])
  })

  it('wants addresses of the subnet, or a number', async () => {
    expect(await failure({})).toMatch(/^MissingParameter/)
    expect(await failure({ PrivateIpAddresses: ['172.31.0.71'], SecondaryPrivateIpAddressCount: 1 })).toMatch(/^InvalidParameterCombination/)
    expect(await failure({ PrivateIpAddresses: ['172.31.16.71'] })).toMatch(/does not fall within/)
    expect(await failure({ PrivateIpAddresses: ['somewhere'] })).toMatch(/^InvalidParameterValue/)
    expect(await failure({ SecondaryPrivateIpAddressCount: 0 })).toMatch(/^InvalidParameterValue/)
    expect(await failure({ Ipv4PrefixCount: 1 })).toMatch(/^UnsupportedOperation/)
    expect(await secondary()).toEqual([])
  })
})

describe('UnassignPrivateIpAddresses', () => {
  const unassign = (...PrivateIpAddresses: string[]) => ({ NetworkInterfaceId: id, PrivateIpAddresses })

  it('takes them away, and all or none', async () => {
    await assign({ PrivateIpAddresses: ['172.31.0.71', '172.31.0.72'] })
    await lab.syncPorts()
    expect(await lab.failure(unassignPrivateIpAddresses, unassign('172.31.0.71', '172.31.0.73'))).toBe(
      `InvalidParameterValue: Some of the specified addresses are not assigned to interface ${id}`)
    expect(await secondary()).toHaveLength(2)
    await lab.call(unassignPrivateIpAddresses, unassign('172.31.0.71'))
    expect(await secondary()).toEqual(['172.31.0.72'])
    expect(await isDue()).toBe(true)
  })

  it('leaves the primary one', async () => {
    const { private_ip: primary } = await lab.interfaceRow(id)
    expect(await lab.failure(unassignPrivateIpAddresses, unassign(primary))).toMatch(/^InvalidParameterValue: .*primary/)
    expect(await lab.failure(unassignPrivateIpAddresses, unassign())).toMatch(/^MissingParameter/)
  })
})
