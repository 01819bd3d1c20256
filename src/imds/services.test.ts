import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemRandom } from '../core/random.ts'
import { endEvent, insertEvent } from '../model/instance-event.ts'
import { changeInstanceDoc, instanceDoc, type MetadataOptions } from '../model/instance.ts'
import {
  defaultNetwork, fixedClock, insertInstance, insertInterface, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT,
  REGION,
  type TestStore, type PlacedInstance,
} from '../../test/support/rows.ts'
import { addSecondary, changeVpc, giveOptions } from '../../test/support/vpc-services.ts'
import type { VpcServices } from '../network/driver.ts'
import { makeIdentityKey, type IdentityKey } from './identity-key.ts'
import { createDatabaseServices } from './services.ts'
import { loadInstanceMetadata } from './view.ts'

const MAC = '0a:12:34:56:78:9a'
const ADDRESS = '172.31.5.10'
const PUBLIC = '198.18.0.9'

let test: TestStore
let services: VpcServices
let instance: PlacedInstance
let vpcId: string
let otherVpcId: string

let identityKey: IdentityKey
beforeAll(async () => {
  identityKey = await makeIdentityKey(systemRandom, NOW_MS)
})

beforeEach(async () => {
  test = await openTestStore()
  services = createDatabaseServices({
    store: test.store, clock: fixedClock, region: REGION, secret: Buffer.alloc(32, 1), identityKey,
  })
  instance = await test.run(async (context) => {
    const row = await insertInstance(context, { key_name: 'my-key' }, {
      userData: Buffer.from('#!/bin/sh\n').toString('base64'), publicKey: 'ssh-ed25519 AAAA my-key',
    })
    await insertInterface(context, row, { private_ip: ADDRESS, mac: MAC, public_ip: PUBLIC })
    await insertVolume(context, row)
    await insertVolume(context, row, { device: '/dev/sdaa' })
    await insertVolume(context, row, { device: '/dev/sdg' })
    await insertVolume(context, row, { device: '/dev/sdf' })
    await insertVolume(context, row, { device: '/dev/sdh', attach_state: 'detaching' })
    await context.db.insertInto('tags').values({
      account_id: row.account_id, resource_type: 'instance', resource_id: row.instance_id, key: 'Name', value: 'first',
    }).execute()
    return row
  })
  vpcId = instance.vpc_id
  // Another account's VPC has the same addresses.
  otherVpcId = await test.run(async (context) => {
    const row = await insertInstance(context)
    await insertInterface(context, row, { private_ip: ADDRESS, mac: '0a:00:00:00:00:01' })
    return row.vpc_id
  }, OTHER_ACCOUNT)
})

const instanceIdOf = async (vpc: string, address: string) => {
  const answer = await services.metadata(vpc, address, {
    method: 'GET', path: '/latest/meta-data/instance-id', headers: {},
  })
  return [answer.status, answer.body.toString()]
}

describe('metadata', () => {
  it('is of the instance with that address in that VPC', async () => {
    expect(await instanceIdOf(vpcId, ADDRESS)).toEqual([200, instance.instance_id])
    const [status, other] = await instanceIdOf(otherVpcId, ADDRESS)
    expect(status).toBe(200)
    expect(other).not.toBe(instance.instance_id)
    expect((await instanceIdOf(vpcId, '172.31.5.11'))[0]).toBe(404)
  })

  it('is for a secondary address too, on any interface of the instance, and for that instance only', async () => {
    await test.run(async (context) => {
      const second = await insertInterface(context, instance, { private_ip: '172.31.5.30', mac: '0a:00:00:00:00:04', device_index: 1 })
      await addSecondary(context, second, '172.31.5.31', '198.18.0.31')
      const stranger = await insertInterface(context, await insertInstance(context), { private_ip: '172.31.5.40' })
      await addSecondary(context, stranger, '172.31.5.41', null)
      const unattached = await insertInterface(context, instance, { private_ip: '172.31.5.50', instance_id: null })
      await addSecondary(context, unattached, '172.31.5.51', null)
    })
    expect(await instanceIdOf(vpcId, '172.31.5.30')).toEqual([200, instance.instance_id])
    expect(await instanceIdOf(vpcId, '172.31.5.31')).toEqual([200, instance.instance_id])
    expect((await instanceIdOf(otherVpcId, '172.31.5.31'))[0]).toBe(404)
    const [status, other] = await instanceIdOf(vpcId, '172.31.5.41')
    expect([status, other === instance.instance_id]).toEqual([200, false])
    expect((await instanceIdOf(vpcId, '172.31.5.51'))[0]).toBe(404)
    const view = await test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, '172.31.5.31'))
    expect(view?.interfaces.map((each) => each.secondary))
      .toEqual([[], [{ privateIp: '172.31.5.31', publicIp: '198.18.0.31' }]])
  })

  it('knows what is planned for the instance, what was, and nothing of others', async () => {
    const event = { code: 'instance-stop', notBeforeMs: NOW_MS + 60_000, notAfterMs: null, deadlineMs: null } as const
    await test.run(async (context) => {
      await insertEvent(context, instance, event)
      await endEvent(context.db, await insertEvent(context, instance, { ...event, description: 'x' }), 'completed', NOW_MS)
      await insertEvent(context, await insertInstance(context), event)
    })
    const view = await test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, ADDRESS))
    expect(view?.events.map(({ state, description, notBeforeMs }) => [state, description, notBeforeMs]).toSorted()).toEqual([
      ['completed', '[Completed] x', NOW_MS + 60_000],
      ['scheduled', 'The instance is running on degraded hardware', NOW_MS + 60_000],
    ])
  })

  it('has all blocks of the VPC, and its names as the VPC gives them', async () => {
    const view = () => test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, ADDRESS))
    await test.run(({ db, account }) => db.insertInto('vpc_cidrs').values({
      association_id: 'vpc-cidr-assoc-1', account_id: account, vpc_id: vpcId, cidr: '10.9.0.0/16', state: 'associated',
      created_ms: NOW_MS,
    }).execute())
    expect((await view())?.interfaces[0]?.vpcCidrs).toEqual(['172.31.0.0/16', '10.9.0.0/16'])
    await changeVpc(test, vpcId, { enableDnsHostnames: false })
    expect((await view())?.interfaces[0]?.hasPublicNames).toBe(false)
    await changeVpc(test, vpcId, { enableDnsHostnames: true, enableDnsSupport: false })
    expect((await view())?.interfaces[0]?.hasPublicNames).toBe(false)
  })

  it('names the guest in a domain of its own only where other name servers may know it', async () => {
    const domain = async () => (await test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, ADDRESS)))?.hostDomain
    expect(await domain()).toBe('ec2.internal')
    await giveOptions(test, vpcId, { 'domain-name': ['example.com'], 'domain-name-servers': ['AmazonProvidedDNS'] })
    expect(await domain()).toBe('ec2.internal')
    await giveOptions(test, vpcId, { 'domain-name': ['example.com'], 'domain-name-servers': ['10.0.0.5'] })
    expect(await domain()).toBe('example.com')
    await changeVpc(test, vpcId, { dhcpOptionsId: 'default' })
    expect(await domain()).toBe('ec2.internal')
  })

  it('is read from the rows', async () => {
    const view = await test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, ADDRESS))
    expect(view).toMatchObject({
      region: REGION, accountId: instance.account_id, instanceId: instance.instance_id, instanceType: 't3.micro',
      zone: `${REGION}a`, launchMs: NOW_MS, userData: Buffer.from('#!/bin/sh\n'), keyName: 'my-key',
      publicKey: 'ssh-ed25519 AAAA my-key', rootDeviceName: '/dev/vda', dataDevices: ['/dev/sdf', '/dev/sdg', '/dev/sdaa'],
      monitoring: 'disabled', hibernation: false, tags: [],
    })
    expect(view?.interfaces).toMatchObject([{
      mac: MAC, privateIp: ADDRESS, publicIp: PUBLIC, deviceIndex: 0, subnetCidr: '172.31.0.0/20',
      vpcCidrs: ['172.31.0.0/16'], vpcId, hasPublicNames: true, secondary: [], groups: [{ name: 'default' }],
    }])
  })

  it('has every interface with its own subnet and groups, in order', async () => {
    await test.run(async (context) => {
      const { subnet } = await defaultNetwork(context, `${REGION}b`)
      await insertInterface(context, instance, {
        private_ip: '172.31.20.7', mac: '0a:00:00:00:00:03', device_index: 1, subnet_id: subnet.subnet_id,
      })
    })
    const view = await test.store.read((db) => loadInstanceMetadata(db, REGION, vpcId, '172.31.20.7'))
    expect(view?.instanceId).toBe(instance.instance_id)
    expect(view?.interfaces).toMatchObject([
      { mac: MAC, deviceIndex: 0, subnetCidr: '172.31.0.0/20', groups: [{ name: 'default' }] },
      { mac: '0a:00:00:00:00:03', deviceIndex: 1, subnetCidr: '172.31.16.0/20', groups: [{ name: 'default' }] },
    ])
  })

  it('heeds options and tags from the next request on', async () => {
    const status = async (path: string) =>
      (await services.metadata(vpcId, ADDRESS, { method: 'GET', path, headers: {} })).status
    const change = (metadataOptions: MetadataOptions) =>
      test.run(({ db }) => changeInstanceDoc(db, instance.instance_id, { metadataOptions }))
    const options: MetadataOptions = instanceDoc(instance).metadataOptions
    const tag = '/latest/meta-data/tags/instance/Name'
    expect([await status('/'), await status(tag)]).toEqual([200, 404])
    await change({ ...options, instanceMetadataTags: 'enabled' })
    expect(await status(tag)).toBe(200)
    await test.run(({ db }) => db.deleteFrom('tags').where('resource_id', '=', instance.instance_id).execute())
    expect(await status(tag)).toBe(404)
    await change({ ...options, httpTokens: 'required' })
    expect(await status('/')).toBe(401)
    await change({ ...options, httpEndpoint: 'disabled' })
    expect(await status('/')).toBe(403)
  })
})
