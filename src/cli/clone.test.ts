import { beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertInterface, openTestStore, REGION, ZONES, type TestStore } from '../../test/support/rows.ts'
import { insertTags } from '../ec2/tags.ts'
import { failureOf, formatClones } from './clone.ts'
import { loadSource, planClones, type CloneOrder, type CloneSource } from './clone-plan.ts'

let test: TestStore
let source: CloneSource
const cloud = { region: REGION, zones: ZONES }

beforeEach(async () => {
  test = await openTestStore()
  const id = await test.run(async (context) => {
    const instance = await insertInstance(context, { key_name: 'mine', zone: `${REGION}b` }, { userData: 'IyEvYmluL3No' })
    await insertInterface(context, instance)
    await insertTags(context.db, context.account, 'instance', instance.instance_id, [
      { key: 'Name', value: 'web' }, { key: 'team', value: 'a' }, { key: 'aws:ec2launchtemplate:id', value: 'lt-1' },
    ])
    return instance.instance_id
  })
  source = await loadSource(test.store, id)
})

const plan = (order: Partial<CloneOrder>, of = source) => planClones(of, { zone: 'a', count: 1, ...order }, cloud)
const tagsOf = (parameters: Record<string, string> = {}) => Object.fromEntries(Object.entries(parameters).flatMap(([name, value]) =>
  (name.endsWith('.Key') ? [[value, parameters[name.replace(/Key$/, 'Value')]]] : [])))

describe('hearth clone', () => {
  it('launches in every zone that is named, in the default subnets there, with what the instance has', () => {
    const launches = plan({ zone: 'a,us-east-1c' })
    expect(launches.map((each) => [each.zone, each.names])).toEqual([['us-east-1a', ['web-clone-a']], ['us-east-1c', ['web-clone-c']]])
    const subnet = source.subnets.find((each) => each.zone === 'us-east-1c')
    expect(launches[1]?.parameters).toMatchObject({
      InstanceType: 't3.micro', MinCount: '1', MaxCount: '1', KeyName: 'mine', 'NetworkInterface.1.SubnetId': subnet?.subnet_id,
      'NetworkInterface.1.SecurityGroupId.1': source.groupIds[0], 'MetadataOptions.HttpTokens': 'optional', InstanceInitiatedShutdownBehavior: 'stop',
    })
    expect(tagsOf(launches[1]?.parameters)).toEqual({ Name: 'web-clone-c', team: 'a' })
  })

  it('stays in the instance\'s own subnet in its zone', () => {
    const own = { ...source, subnets: [...source.subnets, ...source.subnets.map((each) => ({ ...each, subnet_id: `other-${each.zone}`, default_for_az: 0 }))] }
    own.instance = { ...own.instance, subnet_id: `other-${REGION}b` }
    expect(plan({ zone: 'a,b' }, own).map((each) => each.parameters['NetworkInterface.1.SubnetId'])).toEqual([
      source.subnets.find((each) => each.zone === `${REGION}a`)?.subnet_id, `other-${REGION}b`,
    ])
  })

  it('gives the clones other names, another type and key, and user-data only when it is asked for', () => {
    const [launch] = plan({ zone: 'b', count: 2, name: 'shop', type: 'm5.large', key: 'other', userData: true })
    expect(launch?.names).toEqual(['shop-b-1', 'shop-b-2'])
    expect(launch?.parameters).toMatchObject({ InstanceType: 'm5.large', KeyName: 'other', MinCount: '2', MaxCount: '2', UserData: 'IyEvYmluL3No' })
    expect(plan({})[0]?.parameters).not.toHaveProperty('UserData')
  })

  it('says what is wrong before it makes anything', () => {
    expect(() => plan({ zone: 'a,x' })).toThrow('there is no zone "x"; there are: us-east-1a, us-east-1b, us-east-1c')
    expect(() => plan({ zone: 'a,us-east-1a' })).toThrow('us-east-1a is named twice; --count says how many clones each zone gets')
    expect(() => plan({ zone: ',' })).toThrow('say in which zones, such as --zone a,b,c')
    expect(() => plan({ count: 0 })).toThrow('--count must be a whole number, at least 1')
    const lonely = { ...source, subnets: source.subnets.filter((each) => each.zone === `${REGION}b`) }
    expect(() => plan({ zone: 'c' }, lonely)).toThrow(/^vpc-\w+ of i-\w+ has no subnet in us-east-1c; make one: aws ec2 create-subnet --vpc-id vpc-\w+ --availability-zone us-east-1c /)
  })

  it('tells what came up and what did not', () => {
    const clone = { zone: 'us-east-1a', instanceId: 'i-1', name: 'web-clone-a', privateIp: '10.0.0.1', publicIp: null }
    expect(formatClones([clone]).split('\n')).toEqual([
      'ZONE        INSTANCE  NAME         PRIVATE   PUBLIC', 'us-east-1a  i-1       web-clone-a  10.0.0.1  -',
    ])
    const failures = [{ zone: 'us-east-1b', instanceId: null, reason: 'no room' }, { zone: 'us-east-1c', instanceId: 'i-2', reason: 'it is stopped' }]
    const sentence = failureOf({ source: 'i-0', imageId: 'ami-1', isImageKept: false, clones: [clone], failures }, { home: '/h' })
    expect(sentence).toMatch(
      /^no clone in us-east-1b: no room; i-2 in us-east-1c: it is stopped; the other one runs; to try again: \S+ clone i-0 --zone us-east-1b,us-east-1c --home \/h$/)
  })
})
