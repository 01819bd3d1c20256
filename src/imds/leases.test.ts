import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertInterface, openTestStore, OTHER_ACCOUNT, REGION, type PlacedInstance, type TestStore } from '../../test/support/rows.ts'
import { addSecondary, changeVpc, giveOptions } from '../../test/support/vpc-services.ts'
import { findLease } from './leases.ts'

const MAC = '0a:12:34:56:78:9a'
const ADDRESS = '172.31.5.10'

let test: TestStore
let instance: PlacedInstance
let vpcId: string
beforeEach(async () => {
  test = await openTestStore()
  instance = await test.run(async (context) => {
    const row = await insertInstance(context)
    await insertInterface(context, row, { private_ip: ADDRESS, mac: MAC })
    return row
  })
  vpcId = instance.vpc_id
})
afterEach(() => test.store.close())

const lease = (mac = MAC, vpc = vpcId, region = REGION) => test.store.read((db) => findLease(db, region, vpc, mac))

describe('a lease', () => {
  it('is what the subnet, the VPC and its default DHCP options say', async () => {
    const expected = {
      address: ADDRESS, prefix: 20, gateway: '172.31.0.1', dns: ['172.31.0.2'], domainName: 'ec2.internal',
      hostname: 'ip-172-31-5-10', mtu: 1500, leaseSeconds: 3600,
    }
    expect(await lease()).toEqual(expected)
    expect(await lease(MAC.toUpperCase())).toEqual(expected)
    expect(await lease(MAC, vpcId, 'eu-west-1')).toEqual({ ...expected, domainName: 'eu-west-1.compute.internal' })
  })

  it('has the router of its own subnet and the resolver of the VPC', async () => {
    await test.run(async (context) => {
      const row = await insertInstance(context, { zone: `${REGION}b` })
      await insertInterface(context, row, { private_ip: '172.31.20.7', mac: '0a:00:00:00:00:02' })
    })
    expect(await lease('0a:00:00:00:00:02')).toMatchObject({ gateway: '172.31.16.1', dns: ['172.31.0.2'] })
  })

  it('is the same for every interface of an instance, but for the primary address of each', async () => {
    await test.run(async (context) => {
      const second = await insertInterface(context, instance, { private_ip: '172.31.5.30', mac: '0a:00:00:00:00:03', device_index: 1 })
      await addSecondary(context, second, '172.31.5.31', null)
    })
    expect(await lease('0a:00:00:00:00:03'))
      .toEqual({ ...(await lease()), address: '172.31.5.30', hostname: 'ip-172-31-5-30' })
  })

  it("brings the options of the VPC's own set with the next renewal", async () => {
    await giveOptions(test, vpcId, {
      'domain-name': ['example.com'], 'domain-name-servers': ['10.0.0.5', 'AmazonProvidedDNS'],
      'ntp-servers': ['10.0.0.6', '10.0.0.7'], 'netbios-name-servers': ['10.0.0.8'], 'netbios-node-type': ['2'],
    })
    expect(await lease()).toEqual({
      address: ADDRESS, prefix: 20, gateway: '172.31.0.1', dns: ['10.0.0.5', '172.31.0.2'], domainName: 'example.com',
      hostname: 'ip-172-31-5-10', ntpServers: ['10.0.0.6', '10.0.0.7'], netbiosServers: ['10.0.0.8'], netbiosNodeType: 2,
      mtu: 1500, leaseSeconds: 3600,
    })
  })

  it('says nothing of what the set does not say', async () => {
    await giveOptions(test, vpcId, { 'ntp-servers': ['10.0.0.6'] })
    expect(await lease()).toMatchObject({ dns: [], domainName: null, ntpServers: ['10.0.0.6'] })
  })

  it('has but the link-local resolver where the VPC has no DHCP options', async () => {
    await changeVpc(test, vpcId, { dhcpOptionsId: 'default' })
    expect(await lease()).toMatchObject({ dns: ['169.254.169.253'], domainName: null, hostname: 'ip-172-31-5-10' })
  })

  it('is not for a stranger, nor for a guest of another VPC', async () => {
    const other = await test.run((context) => insertInstance(context), OTHER_ACCOUNT)
    expect(await lease('0a:ff:ff:ff:ff:ff')).toBeUndefined()
    expect(await lease(MAC, other.vpc_id)).toBeUndefined()
  })
})
