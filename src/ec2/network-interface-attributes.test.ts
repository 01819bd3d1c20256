import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import {
  describeNetworkInterfaceAttribute, modifyNetworkInterfaceAttribute, resetNetworkInterfaceAttribute,
} from './network-interface-attributes.ts'
import { createSecurityGroup } from './security-groups.ts'

let lab: InterfaceLab
let id: string
beforeEach(async () => {
  lab = await openInterfaceLab()
  const { NetworkInterfaces: [nic] = [] } = await lab.running()
  id = nic?.NetworkInterfaceId ?? ''
})

const modify = (change: object) => lab.call(modifyNetworkInterfaceAttribute, { NetworkInterfaceId: id, ...change })
const failure = (change: object) => lab.failure(modifyNetworkInterfaceAttribute, { NetworkInterfaceId: id, ...change })
const attribute = (Attribute: 'description' | 'groupSet' | 'sourceDestCheck' | 'attachment' | 'associatePublicIpAddress') =>
  lab.call(describeNetworkInterfaceAttribute, { NetworkInterfaceId: id, Attribute })

describe('ModifyNetworkInterfaceAttribute', () => {
  it('changes the description', async () => {
    await modify({ Description: { Value: 'front' } })
    expect(await attribute('description')).toEqual({ NetworkInterfaceId: id, Description: { Value: 'front' } })
    await modify({ Description: { Value: '' } })
    expect(await attribute('description')).toEqual({ NetworkInterfaceId: id, Description: { Value: '' } })
  })

  it('replaces the groups, which the port follows', async () => {
    const { GroupId: web = '' } = await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web' })
    await modify({ Groups: [web] })
    expect(await attribute('groupSet')).toEqual({ NetworkInterfaceId: id, Groups: [{ GroupId: web, GroupName: 'web' }] })
    const { revision, synced_revision: inForce } = await lab.interfaceRow(id)
    expect(revision).toBe(inForce + 1)
    const { groupId } = await lab.addVpc()
    expect(await failure({ Groups: [groupId] })).toMatch(/^InvalidParameter: .*different networks/)
    expect(await failure({ Groups: ['sg-00000000000000099'] })).toMatch(/^InvalidGroup.NotFound/)
  })

  it('turns the source/destination check off, and Reset on again', async () => {
    await modify({ SourceDestCheck: { Value: false } })
    expect(await attribute('sourceDestCheck')).toEqual({ NetworkInterfaceId: id, SourceDestCheck: { Value: false } })
    expect((await lab.describeInterface(id)).SourceDestCheck).toBe(false)
    expect(await lab.work()).toContain(`ports ${lab.subnet.vpc_id}`)
    await lab.call(resetNetworkInterfaceAttribute, { NetworkInterfaceId: id, SourceDestCheck: 'sourceDestCheck' })
    expect(await attribute('sourceDestCheck')).toMatchObject({ SourceDestCheck: { Value: true } })
    expect(await lab.failure(resetNetworkInterfaceAttribute, { NetworkInterfaceId: id })).toMatch(/^MissingParameter/)
  })

  it('changes what becomes of it when its instance ends', async () => {
    const { Attachment } = await attribute('attachment')
    expect(Attachment).toMatchObject({ DeleteOnTermination: true, DeviceIndex: 0 })
    const AttachmentId = Attachment?.AttachmentId
    await modify({ Attachment: { AttachmentId, DeleteOnTermination: false } })
    expect((await attribute('attachment')).Attachment?.DeleteOnTermination).toBe(false)
    expect(await failure({ Attachment: { AttachmentId: 'eni-attach-0', DeleteOnTermination: true } })).toMatch(/^InvalidAttachmentID.NotFound/)
    expect(await failure({ Attachment: { AttachmentId } })).toMatch(/^MissingParameter/)
    expect(await failure({ Attachment: { DeleteOnTermination: true } })).toMatch(/^MissingParameter/)
  })

  it('takes exactly one attribute', async () => {
    expect(await failure({})).toBe('InvalidParameterCombination: No attributes specified.')
    expect(await failure({ Groups: [] })).toBe('InvalidParameterCombination: No attributes specified.')
    expect(await failure({ Description: { Value: '' }, SourceDestCheck: { Value: true } })).toBe(
      'InvalidParameterCombination: Fields for multiple attribute types specified: Description, SourceDestCheck')
  })

  it.each([
    { AssociatePublicIpAddress: false }, { EnablePrimaryIpv6: true }, { AssociatedSubnetIds: ['subnet-1'] },
    { ConnectionTrackingSpecification: { UdpTimeout: 30 } }, { EnaSrdSpecification: { EnaSrdEnabled: true } },
  ])('says that %j is not honoured', async (change) => {
    expect(await failure(change)).toMatch(/^UnsupportedOperation/)
  })
})

describe('DescribeNetworkInterfaceAttribute', () => {
  it('shows one attribute, which must be named', async () => {
    expect(await attribute('associatePublicIpAddress')).toEqual({ NetworkInterfaceId: id, AssociatePublicIpAddress: true })
    expect(await lab.failure(describeNetworkInterfaceAttribute, { NetworkInterfaceId: id })).toMatch(/^MissingParameter/)
    id = (await lab.create()).NetworkInterfaceId ?? ''
    expect(await attribute('attachment')).toEqual({ NetworkInterfaceId: id })
  })
})
