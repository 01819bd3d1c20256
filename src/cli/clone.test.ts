import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertInstance, insertInterface, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, ZONES, type TestStore,
} from '../../test/support/rows.ts'
import { insertTags } from '../ec2/tags.ts'
import { ApiError } from '../core/errors.ts'
import { seededRandom } from '../core/random.ts'
import type { ApiClient } from './api-client.ts'
import { cloneInstance, failureOf, formatClones } from './clone.ts'
import { loadSource, planClones, type CloneOrder, type CloneSource } from './clone-plan.ts'
import { instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { moveZone } from '../model/zone.ts'
import { listInstances } from './instances.ts'

let test: TestStore
let source: CloneSource
const cloud = { region: REGION, zones: ZONES }

beforeEach(async () => {
  test = await openTestStore()
  const id = await test.run(async (context) => {
    const instance = await insertInstance(context, { key_name: 'mine', zone: `${REGION}b` }, { userData: 'IyEvYmluL3No' })
    await insertInterface(context, instance)
    await context.db
      .insertInto('key_pairs')
      .values({ key_pair_id: 'key-1', account_id: context.account, name: 'mine', key_type: 'ed25519', fingerprint: '', public_key: '', created_ms: NOW_MS })
      .execute()
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
    const tell = (flags: object) => failureOf(
      { source: 'i-0', imageId: 'ami-1', isImageKept: false, clones: [clone], failures }, { home: '/h' }, { zone: 'a,b,c', count: '1', ...flags })
    expect(tell({})).toMatch(
      /^no clone in us-east-1b: no room; i-2 in us-east-1c: it is stopped; the other one runs; to try again: \S+ clone i-0 --zone us-east-1b,us-east-1c --home \/h$/)
    const flags = { count: '2', type: 'm5.large', key: 'my key', name: 'shop', userData: true, keepImage: true, reboot: true }
    const rest = "--type m5.large --name shop --key 'my key' --user-data --reboot --keep-image --home /h"
    expect(tell(flags).split('to try again: ')[1]?.replaceAll(/\S+ clone /g, 'hearth clone ')).toBe(
      `hearth clone i-0 --zone us-east-1b --count 2 ${rest}; hearth clone i-0 --zone us-east-1c ${rest}`)
  })
})

describe('a launch of clones', () => {
  const said: string[] = []
  /** Calls the API that answers so, and the RunInstances that it was asked for. */
  async function clone(answers: Partial<Record<string, (parameters: Record<string, string>, call: number) => string>>, flags = {}, signal?: AbortSignal) {
    said.length = 0
    const asked: { action: string; parameters: Record<string, string> }[] = []
    let nowMs = NOW_MS
    const api: ApiClient = {
      async call(action, parameters = {}) {
        const kind = parameters.DryRun ? 'DryRun' : action
        asked.push({ action: kind, parameters })
        const answer = answers[kind]?.(parameters, asked.filter((each) => each.action === kind).length)
        if (answer === undefined) throw new ApiError('Unsupported', action)
        return answer
      },
    }
    const clock = {
      now: () => nowMs, after: () => ({ cancel() {} }), soon: () => {},
      sleep: async (ms: number, ending?: AbortSignal) => {
        ending?.throwIfAborted()
        nowMs += ms
      },
    }
    const terminal = { out: () => {}, say: (line: string) => void said.push(line) }
    const ambient = { api, store: test.store, clock, random: seededRandom(1), terminal, ...(signal ? { signal } : {}) }
    const [instance] = await listInstances(test.store)
    if (!instance) throw new Error('the instance is gone')
    const done = cloneInstance(ambient, { region: REGION, zones: ['a', 'b', 'c'], home: '/h' }, instance, { zone: 'a', count: '2', ...flags })
    return { done, asked }
  }
  let baked = 0
  beforeEach(() => void (baked = 0))
  const bake = (state: 'available' | 'failed' | 'pending') => (parameters: Record<string, string>) => {
    const image_id = `ami-${++baked}`
    void test.run((context) => insertImage(context, { account_id: context.account, name: parameters.Name ?? '', image_id, state }))
    return `<imageId>${image_id}</imageId>`
  }
  const api = {
    DryRun: () => {
      throw new ApiError('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.')
    },
    CreateImage: bake('available'),
    RunInstances: () => '<instanceId>i-1</instanceId><instanceId>i-2</instanceId>',
    CreateTags: () => '',
    DescribeInstances: () => '<instanceState><name>running</name></instanceState>',
    DeregisterImage: () => '<return>true</return>',
  }

  it('is asked for again, by the same token, where no answer comes', async () => {
    const { done, asked } = await clone({
      ...api,
      RunInstances: (_parameters, call) => {
        // As while it is started again.
        if (call <= 20) throw new Error('the API does not answer RunInstances')
        return api.RunInstances()
      },
    })
    expect(await done).toMatchObject({ failures: [], clones: [{ instanceId: 'i-1' }, { instanceId: 'i-2' }] })
    const tokens = asked.flatMap(({ action, parameters }) => (action === 'RunInstances' ? [parameters.ClientToken] : []))
    expect(tokens).toHaveLength(21)
    expect(new Set(tokens)).toEqual(new Set([expect.stringMatching(/^clone-[0-9a-f]{32}$/)]))
    expect(new Set(tokens).size).toBe(1)
  })

  it('is there though one of the clones could not be named', async () => {
    const { done } = await clone({ ...api, CreateTags: () => { throw new ApiError('RequestLimitExceeded', 'slower') } })
    expect(await done).toMatchObject({ failures: [], clones: [{ name: 'web-clone-a-1' }, { instanceId: 'i-2', name: 'web-clone-a-1' }] })
    expect(said).toContainEqual('i-2 could not be named web-clone-a-2, and is called web-clone-a-1: slower')
  })

  it('is waited for while the API does not answer', async () => {
    const { done } = await clone({
      ...api,
      DescribeInstances: (_parameters, call) => {
        if (call < 5) throw new Error('the API does not answer DescribeInstances')
        return api.DescribeInstances()
      },
    })
    expect(await done).toMatchObject({ failures: [], clones: [{ instanceId: 'i-1' }, { instanceId: 'i-2' }] })
  })

  it('is of one image though the answer to CreateImage was lost', async () => {
    const { done, asked } = await clone({
      ...api,
      CreateImage: (parameters, call) => {
        if (call === 1) bake('available')(parameters)
        if (call < 4) throw new Error('the API does not answer CreateImage')
        throw new ApiError('InvalidAMIName.Duplicate', 'AMI name is already in use')
      },
    })
    expect(await done).toMatchObject({ imageId: 'ami-1', failures: [], clones: [{ instanceId: 'i-1' }, { instanceId: 'i-2' }] })
    expect(new Set(asked.flatMap(({ action, parameters }) => (action === 'CreateImage' ? [parameters.Name] : []))).size).toBe(1)
  })

  it('does not happen where the image fails, which is not left behind', async () => {
    const { done, asked } = await clone({ ...api, CreateImage: bake('failed') }, { keepImage: true })
    await expect(done).rejects.toThrow('ami-1 has failed')
    expect(asked.map(({ action }) => action)).toEqual(['DryRun', 'CreateImage', 'DeregisterImage'])
  })

  it('is tried before anything is made: what no zone would launch costs neither a bake nor a reboot', async () => {
    const refuse = (code: string, message: string) => () => {
      throw new ApiError(code, message)
    }
    const typo = await clone({ ...api, DryRun: refuse('InvalidKeyPair.NotFound', "The key pair 'myn' does not exist") }, { zone: 'a,b', key: 'myn', reboot: true })
    await expect(typo.done).rejects.toThrow("nothing was made, since no clone could be launched: The key pair 'myn' does not exist")
    expect(typo.asked.map(({ action }) => action)).toEqual(['DryRun', 'DryRun'])
    const full = await clone({
      ...api, DryRun: (parameters) => refuse('InsufficientInstanceCapacity', `no room in ${parameters['NetworkInterface.1.SubnetId']}`)(),
    }, { zone: 'a,b' })
    await expect(full.done).rejects.toThrow(/: in us-east-1a: no room in subnet-\w+; in us-east-1b: no room in subnet-\w+$/)
    // The image of the source may be gone, and says nothing of its clones.
    const orphan = await clone({ ...api, DryRun: refuse('InvalidAMIID.NotFound', 'gone') })
    expect(await orphan.done).toMatchObject({ failures: [] })
    const half = await clone({ ...api, DryRun: (_parameters, call) => (call === 1 ? refuse('Unsupported', 'no')() : api.DryRun()) }, { zone: 'a,b' })
    expect((await half.done).clones.map((each) => each.zone)).toEqual(['us-east-1a', 'us-east-1a', 'us-east-1b', 'us-east-1b'])
  })

  it('that is interrupted leaves no image, and tells what it launched', async () => {
    const interrupted = (at: keyof typeof api, change: Parameters<typeof clone>[0] = {}) => {
      const ending = new AbortController()
      const answers: Parameters<typeof clone>[0] = { ...api, ...change }
      return clone({
        ...answers,
        [at]: (parameters: Record<string, string>, call: number) => {
          ending.abort(new Error('interrupted'))
          return answers[at]?.(parameters, call) ?? ''
        },
      }, {}, ending.signal)
    }
    const pending = () => '<instanceState><name>pending</name></instanceState>'
    const baking = await interrupted('CreateImage', { CreateImage: bake('pending') })
    await expect(baking.done).rejects.toThrow(/^interrupted$/)
    expect(baking.asked.map(({ action }) => action)).toEqual(['DryRun', 'CreateImage', 'DeregisterImage'])
    const waiting = await interrupted('DescribeInstances', { DescribeInstances: pending })
    await expect(waiting.done).rejects.toThrow(
      /^interrupted; launched, and coming up all the same: i-1 \(web-clone-a-1\) in us-east-1a, i-2 \(web-clone-a-2\) in us-east-1a$/)
    expect(waiting.asked.at(-1)?.action).toBe('DeregisterImage')
    const silent = await interrupted('RunInstances', { RunInstances: () => { throw new Error('the API does not answer RunInstances') } })
    await expect(silent.done).rejects.toThrow(
      /^interrupted; no clone was launched; no clone in us-east-1a: the API does not answer RunInstances; whether it launched them is not known: see hearth status$/)
  })

  it('says in what the clones are not like the instance', async () => {
    await test.run(async (context) => {
      const { db } = context
      const doc = instanceDoc(source.instance)
      const closed = { ...doc, metadataOptions: { ...doc.metadataOptions, httpEndpoint: 'disabled' } } satisfies InstanceDoc
      await db.updateTable('instances').set({ lifecycle: 'spot', doc: JSON.stringify(closed) }).execute()
      await db.updateTable('interfaces').set({ source_dest_check: 0 }).execute()
      await db.deleteFrom('key_pairs').execute()
      await insertInterface(context, source.instance as Parameters<typeof insertInterface>[1], { device_index: 1 })
    })
    const { done, asked } = await clone(api)
    await done
    expect(asked.some(({ parameters }) => 'KeyName' in parameters)).toBe(false)
    const id = source.instance.instance_id
    expect(said.filter((line) => line.includes('clones'))).toEqual(expect.arrayContaining([
      'the key pair mine is gone: the clones have none, and take the keys that are on the disk',
      `${id} is a spot instance; its clones are on demand`, `${id} has 2 network interfaces; its clones have one`,
      expect.stringContaining(`their SSH host keys and host name stay those of ${id} until `),
      `${id} forwards packets of others; its clones do not: aws ec2 modify-instance-attribute --no-source-dest-check makes them`,
    ]))
  })

  it('is not waited for in a zone that has failed meanwhile, nor ordered again', async () => {
    const flags = { zone: 'a', count: '2' }
    const { done } = await clone({
      ...api,
      DescribeInstances: (_parameters, call) => {
        if (call === 1) void test.run((context) => moveZone(context, `${REGION}a`, 'unavailable'))
        return '<instanceState><name>pending</name></instanceState>'
      },
    }, flags)
    const cloned = await done
    const reason = (id: string) => expect.stringMatching(
      new RegExp(`^it is pending, and that waits: ${id} is in us-east-1a, which has failed; to heal it: \\S+ zone heal us-east-1a --home /h$`)) as string
    expect(cloned.failures).toEqual(['i-1', 'i-2'].map((id) => ({ zone: 'us-east-1a', instanceId: id, reason: reason(id), isPending: true })))
    expect(failureOf(cloned, { home: '/h' }, flags)).not.toContain('try again')
  })

  it('removes its image when the API answers again, though an answer was lost', async () => {
    const { done, asked } = await clone({
      ...api,
      DeregisterImage: (_parameters, call) => {
        if (call < 5) throw new Error('the API does not answer DeregisterImage')
        throw new ApiError('InvalidAMIID.Unavailable', 'gone')
      },
    })
    expect(await done).toMatchObject({ isImageKept: false, failures: [] })
    expect(asked.filter(({ action }) => action === 'DeregisterImage')).toHaveLength(5)
    const never = await clone({ ...api, DeregisterImage: () => { throw new Error('the API does not answer DeregisterImage') } })
    expect(await never.done).toMatchObject({ isImageKept: true, failures: [] })
    expect(said.at(-1)).toBe(
      'ami-2 is still there: the API does not answer DeregisterImage; to remove it: aws ec2 deregister-image --image-id ami-2 --delete-associated-snapshots')
  })

  it('tells of images that another one left, but not of those that are kept', async () => {
    const leave = (image_id: string, description: string) => test.run(async (context) => {
      await insertImage(context, { account_id: context.account, name: image_id, image_id }, { description })
    })
    await leave('ami-left', 'For clones of i-0')
    await leave('ami-kept', 'Of i-0, for its clones')
    await (await clone(api)).done
    expect(said.filter((line) => line.includes('another hearth clone'))).toEqual([
      'ami-left (ami-left) is of another hearth clone: where none is at work it was killed, and left that; ' +
        'aws ec2 deregister-image --image-id ami-left --delete-associated-snapshots',
    ])
  })
})

describe('what is cloned', () => {
  it('has the tenancy of the instance, and its EBS optimisation where the type is the same', async () => {
    const doc = { ...JSON.parse(source.instance.doc), options: { ebsOptimized: true } }
    const dedicated = { ...source, instance: { ...source.instance, tenancy: 'dedicated' as const, doc: JSON.stringify(doc) } }
    expect(plan({}, dedicated)[0]?.parameters).toMatchObject({ 'Placement.Tenancy': 'dedicated', EbsOptimized: 'true' })
    expect(plan({ type: 'm5.large' }, dedicated)[0]?.parameters).not.toHaveProperty('EbsOptimized')
    expect(plan({})[0]?.parameters).not.toHaveProperty('Placement.Tenancy')
  })

  it('has no key pair where that of the instance was deleted', async () => {
    await test.run(({ db }) => db.deleteFrom('key_pairs').execute())
    const gone = await loadSource(test.store, source.instance.instance_id)
    expect(plan({}, gone)[0]?.parameters).not.toHaveProperty('KeyName')
    expect(plan({ key: 'other' }, gone)[0]?.parameters).toMatchObject({ KeyName: 'other' })
  })

  it('is of the home\'s own account', async () => {
    const { instance_id: id } = await test.run((context) => insertInstance(context), OTHER_ACCOUNT)
    await expect(loadSource(test.store, id)).rejects.toThrow(`${id} is of account ${OTHER_ACCOUNT}; hearth clone clones those of the home's own, `)
  })
})
