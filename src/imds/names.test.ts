import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertInterface, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, type TestStore } from '../../test/support/rows.ts'
import { addSecondary, changeVpc } from '../../test/support/vpc-services.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { parseCidr } from '../core/cidr.ts'
import { resolveAddress, resolveAddressElsewhere, resolveName, resolveNameElsewhere, type NamedRegion } from './names.ts'

const ADDRESS = '172.31.5.10'
const SECONDARY = '172.31.5.11'
const NAT = '172.31.5.12'
const [PUBLIC, PUBLIC_OF_SECONDARY, PUBLIC_OF_NAT] = ['198.18.0.9', '198.18.0.10', '198.18.0.11']

let test: TestStore
let vpcId: string
/** Of another account, with the same addresses. */
let otherVpcId: string
beforeEach(async () => {
  test = await openTestStore()
  vpcId = await test.run(async (context) => {
    const instance = await insertInstance(context)
    const row = await insertInterface(context, instance, { private_ip: ADDRESS, public_ip: PUBLIC })
    await addSecondary(context, row, SECONDARY, PUBLIC_OF_SECONDARY)
    await insertInterface(context, instance, {
      private_ip: NAT, public_ip: PUBLIC_OF_NAT, instance_id: null, requester_id: 'nat-0123456789abcdef0',
    })
    return instance.vpc_id
  })
  otherVpcId = await test.run(async (context) => {
    const instance = await insertInstance(context)
    await insertInterface(context, instance, { private_ip: ADDRESS })
    return instance.vpc_id
  }, OTHER_ACCOUNT)
})
afterEach(() => test.store.close())

const privateName = (address: string) => `ip-${address.replaceAll('.', '-')}.ec2.internal`
const publicName = (address: string) => `ec2-${address.replaceAll('.', '-')}.compute-1.amazonaws.com`
const resolve = (vpc: string, name: string, region = REGION) => test.store.read((db) => resolveName(db, region, vpc, name))
const reverse = (vpc: string, address: string) => test.store.read((db) => resolveAddress(db, REGION, vpc, address))

describe('a private name', () => {
  it.each([ADDRESS, SECONDARY, NAT])('is known for %s in its VPC, and found by the address', async (address) => {
    expect(await resolve(vpcId, privateName(address))).toBe(address)
    expect(await resolve(vpcId, privateName(address).toUpperCase())).toBe(address)
    expect(await reverse(vpcId, address)).toBe(privateName(address))
  })

  it('is in the domain of the region', async () => {
    expect(await resolve(vpcId, 'ip-172-31-5-10.eu-west-1.compute.internal', 'eu-west-1')).toBe(ADDRESS)
    expect(await resolve(vpcId, privateName(ADDRESS), 'eu-west-1')).toBeUndefined()
  })

  it('is of its VPC alone', async () => {
    expect(await resolve(otherVpcId, privateName(SECONDARY))).toBeUndefined()
    expect(await reverse(otherVpcId, SECONDARY)).toBeUndefined()
  })

  it.each([
    'ip-172-31-5-13.ec2.internal', 'ip-172-031-5-10.ec2.internal', 'ip-172-31-5-10.compute.internal',
    'ip-172-31-5-10.ec2.internal.evil', 'ip-300-1-1-1.ec2.internal', 'ec2-198-18-0-8.compute-1.amazonaws.com',
    'ip-198-18-0-9.ec2.internal', 'example.org', '',
  ])('%s is not ours', async (name) => {
    expect(await resolve(vpcId, name)).toBeUndefined()
  })
})

describe('a public name', () => {
  it.each([
    [PUBLIC, ADDRESS], [PUBLIC_OF_SECONDARY, SECONDARY], [PUBLIC_OF_NAT, NAT],
  ])('of %s is the private address inside its VPC, and the public one elsewhere', async (address, inside) => {
    expect(await resolve(vpcId, publicName(address))).toBe(inside)
    expect(await resolve(otherVpcId, publicName(address))).toBe(address)
    expect(await reverse(vpcId, address)).toBe(publicName(address))
    expect(await reverse(otherVpcId, address)).toBe(publicName(address))
  })
})

describe('a public name in another region', () => {
  let opened: number
  /** The region whose rows these are, as another one sees it. */
  const seen = (): NamedRegion[] => [
    { region: 'eu-west-1', publicPool: parseCidr('198.19.0.0/22') ?? { base: 0, prefix: 0 }, open: () => Promise.resolve(undefined) },
    { region: REGION, publicPool: parseCidr('198.18.0.0/22') ?? { base: 0, prefix: 0 }, open: () => {
      opened += 1
      return Promise.resolve(test.store)
    } },
  ]
  beforeEach(() => {
    opened = 0
  })

  it.each([PUBLIC, PUBLIC_OF_SECONDARY, PUBLIC_OF_NAT])('is of the public address %s, which has it', async (address) => {
    expect(await resolveNameElsewhere(seen(), publicName(address))).toBe(address)
    expect(await resolveNameElsewhere(seen(), publicName(address).toUpperCase())).toBe(address)
    expect(await resolveAddressElsewhere(seen(), address)).toBe(publicName(address))
  })

  it.each([
    'ec2-198-18-0-8.compute-1.amazonaws.com', 'ec2-198-18-0-9.eu-west-1.compute.amazonaws.com', 'ec2-198-19-0-9.eu-west-1.compute.amazonaws.com',
    'ip-198-18-0-9.ec2.internal', privateName(ADDRESS), 'example.org',
  ])('is none: %s', async (name) => {
    expect(await resolveNameElsewhere(seen(), name)).toBeUndefined()
  })

  it('is looked for only in the region that has the address', async () => {
    for (const address of ['203.0.113.9', ADDRESS, '198.19.0.9', 'no address']) expect(await resolveAddressElsewhere(seen(), address)).toBeUndefined()
    expect(opened).toBe(0)
  })
})

describe('a VPC without names', () => {
  it.each([{ enableDnsHostnames: false }, { enableDnsSupport: false }])('has neither kind: %j', async (change) => {
    await changeVpc(test, vpcId, change)
    for (const vpc of [vpcId, otherVpcId]) {
      expect(await resolve(vpc, publicName(PUBLIC))).toBeUndefined()
      expect(await reverse(vpc, PUBLIC)).toBeUndefined()
    }
    expect(await resolve(vpcId, privateName(ADDRESS))).toBeUndefined()
    expect(await reverse(vpcId, ADDRESS)).toBeUndefined()
    expect(await resolve(otherVpcId, privateName(ADDRESS))).toBe(ADDRESS)
  })

  it('is every VPC but the default one, until names are switched on', async () => {
    await test.run(({ db }) => db.updateTable('vpcs').set({ is_default: 0 }).where('vpc_id', '=', vpcId).execute())
    expect(await resolve(vpcId, privateName(ADDRESS))).toBeUndefined()
    await changeVpc(test, vpcId, { enableDnsHostnames: true })
    expect(await resolve(vpcId, privateName(ADDRESS))).toBe(ADDRESS)
  })
})

describe('across a peering', () => {
  const peer = (side: 'requester' | 'accepter', status: 'active' | 'deleted', isAllowed: boolean) =>
    test.run(({ db }) => db.insertInto('vpc_peerings').values({
      peering_id: 'pcx-1', account_id: DEFAULT_ACCOUNT, accepter_account_id: OTHER_ACCOUNT,
      requester_vpc_id: side === 'requester' ? vpcId : otherVpcId, accepter_vpc_id: side === 'requester' ? otherVpcId : vpcId,
      status, status_message: '', created_ms: NOW_MS, expires_ms: NOW_MS, ended_ms: null,
      doc: JSON.stringify({ [`${side}Options`]: { allowDnsResolutionFromRemoteVpc: isAllowed } }),
    }).execute())

  it.each(['requester', 'accepter'] as const)('a public name is the private address where the %s allows it', async (side) => {
    await peer(side, 'active', true)
    expect(await resolve(otherVpcId, publicName(PUBLIC_OF_SECONDARY))).toBe(SECONDARY)
  })

  it.each([
    ['active', false], ['deleted', true],
  ] as const)('it is the public address where the peering is %s and allowing is %s', async (status, isAllowed) => {
    await peer('requester', status, isAllowed)
    expect(await resolve(otherVpcId, publicName(PUBLIC))).toBe(PUBLIC)
  })
})
