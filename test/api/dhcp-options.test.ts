import {
  AssociateDhcpOptionsCommand, CreateDhcpOptionsCommand, DeleteDhcpOptionsCommand, DescribeDhcpOptionsCommand, DescribeVpcsCommand,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestCloud, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
})
afterAll(() => cloud.close())

test('a VPC gets DHCP options of its own and gives them back, as Terraform does it', async () => {
  const { ec2 } = cloud
  const vpc = async () => (await ec2.send(new DescribeVpcsCommand({}))).Vpcs?.[0]
  const { VpcId, DhcpOptionsId: initial } = (await vpc()) ?? {}
  const { DhcpOptions: made } = await ec2.send(new CreateDhcpOptionsCommand({
    DhcpConfigurations: [
      { Key: 'domain-name', Values: ['example.com'] }, { Key: 'domain-name-servers', Values: ['10.0.0.5', 'AmazonProvidedDNS'] },
    ],
    TagSpecifications: [{ ResourceType: 'dhcp-options', Tags: [{ Key: 'Name', Value: 'lab' }] }],
  }))
  const DhcpOptionsId = made?.DhcpOptionsId ?? ''
  await ec2.send(new AssociateDhcpOptionsCommand({ DhcpOptionsId, VpcId }))
  expect((await vpc())?.DhcpOptionsId).toBe(DhcpOptionsId)
  const { DhcpOptions: [found] = [] } = await ec2.send(new DescribeDhcpOptionsCommand({ Filters: [{ Name: 'tag:Name', Values: ['lab'] }] }))
  expect(found).toEqual({
    DhcpOptionsId, OwnerId: made?.OwnerId, Tags: [{ Key: 'Name', Value: 'lab' }],
    DhcpConfigurations: [
      { Key: 'domain-name', Values: [{ Value: 'example.com' }] },
      { Key: 'domain-name-servers', Values: [{ Value: '10.0.0.5' }, { Value: 'AmazonProvidedDNS' }] },
    ],
  })
  await expect(ec2.send(new DeleteDhcpOptionsCommand({ DhcpOptionsId }))).rejects.toThrow(/has dependencies and cannot be deleted/)
  await ec2.send(new AssociateDhcpOptionsCommand({ DhcpOptionsId: initial, VpcId }))
  await ec2.send(new DeleteDhcpOptionsCommand({ DhcpOptionsId }))
  const { DhcpOptions: rest } = await ec2.send(new DescribeDhcpOptionsCommand({}))
  expect(rest?.map((each) => each.DhcpOptionsId)).toEqual([initial])
})
