import { beforeEach, describe, expect, it } from 'vitest'
import {
  failZone, insertInstance, insertInterface, insertVolume, NOW_MS, openTestStore, type TestStore,
} from '../../test/support/rows.ts'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { describeInstances } from '../ec2/describe-instances.ts'
import { startInstances, stopInstances } from '../ec2/instance-lifecycle.ts'
import { instanceDoc, moveInstance, STATE_REASONS, type InstanceDoc, type SavedMemory } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { ApiClient } from './api-client.ts'
import { listInstances } from './instances.ts'
import { startInstance, stopInstance } from './start-stop.ts'
import { formatStatus } from './status.ts'

const MEMORY: SavedMemory = { memoryId: 'mem-1', state: 'saved', generation: 1, volumeIds: [], kmsKeyId: 'k', wrappedKey: 'w' }

let test: TestStore
let id: string

async function setUp(state: InstanceTable['state'], doc: Partial<InstanceDoc> = {}): Promise<void> {
  id = await test.run(async (context) => {
    const row = await insertInstance(
      context, { state, holds_capacity: state === 'stopped' ? 0 : 1 }, { hibernation: true, contactMs: 0, ...doc })
    await insertInterface(context, row)
    await insertVolume(context, row)
    return row.instance_id
  })
}

beforeEach(async () => {
  test = await openTestStore()
})

/** An API that knows what these commands call; `refuse` fails StartInstances, as a full host does. */
function api({ refuse }: { refuse?: ApiError } = {}): ApiClient & { asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    async call(action, { 'InstanceId.1': instanceId = '', ...flags } = {}) {
      const InstanceIds = [instanceId]
      if (action === 'DescribeInstances') {
        const { Reservations } = await test.run((context) => describeInstances(context, { InstanceIds }))
        const { State, StateReason } = Reservations?.[0]?.Instances?.[0] ?? {}
        const reason = StateReason ? `<stateReason><message>${StateReason.Message}</message></stateReason>` : ''
        return `<instanceState><code>${State?.Code}</code><name>${State?.Name}</name></instanceState>${reason}`
      }
      asked.push([action, ...Object.keys(flags)].join(' '))
      if (action === 'StartInstances' && refuse) throw refuse
      if (flags.DryRun) throw new ApiError('DryRunOperation', 'would have succeeded', 412)
      if (action === 'StartInstances') await test.run((context) => startInstances(context, { InstanceIds }))
      else {
        const input = { InstanceIds, Hibernate: 'Hibernate' in flags, Force: 'Force' in flags }
        await test.run((context) => stopInstances(context, input))
      }
      return ''
    },
  }
}

const row = () => test.store.read((db) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
const becomes = (to: InstanceTable['state'], change: Partial<InstanceDoc> = {}) => async () => {
  const present = await row()
  await test.run(({ db }) => moveInstance(db, present, to, NOW_MS, change))
}

/** A clock whose sleeps take no time; each is the next of these happenings. */
function clockOf(...happenings: (() => Promise<void>)[]): Clock {
  return {
    now: () => NOW_MS, after: () => ({ cancel() {} }), soon: () => {},
    sleep: async () => void (await happenings.shift()?.()),
  }
}
const ambient = (client: ApiClient, ...happenings: (() => Promise<void>)[]) => ({
  api: client, store: test.store, clock: clockOf(...happenings), terminal: { out: () => {}, say: () => {} },
  settings: { home: '/srv/hearth', region: 'us-east-1' },
})
const instance = async () => {
  const [found] = await listInstances(test.store)
  if (!found) throw new Error('no instance')
  return found
}

describe('hearth start', () => {
  it('waits until it runs, or not', async () => {
    await setUp('stopped')
    const early = await startInstance(ambient(api()), await instance(), { isCold: false, wait: false })
    expect(early).toEqual({ instanceId: id, state: 'pending', isHibernated: false })
    const waiting = ambient(api(), async () => {}, becomes('running'))
    const late = await startInstance(waiting, await instance(), { isCold: false, wait: true })
    expect(late).toEqual({ instanceId: id, state: 'running', isHibernated: false })
  })

  it('says why it did not come up', async () => {
    await setUp('stopped')
    const stateReason = { code: 'Server.InternalError', message: 'the memory is damaged' }
    const failing = ambient(api(), becomes('stopped', { stateReason }))
    await expect(startInstance(failing, await instance(), { isCold: false, wait: true }))
      .rejects.toThrow(`${id} is stopped: the memory is damaged`)
  })

  it('leaves the memory of a hibernated one to the start, and gives it up when told to', async () => {
    await setUp('stopped', { memory: MEMORY })
    const client = api()
    await startInstance(ambient(client), await instance(), { isCold: false, wait: false })
    expect(instanceDoc(await row()).memory).toEqual(MEMORY)
    await becomes('stopped')()
    await startInstance(ambient(client), await instance(), { isCold: true, wait: false })
    expect(instanceDoc(await row()).memory).toEqual({ ...MEMORY, state: 'given-up' })
    expect(client.asked).toEqual(['StartInstances', 'StartInstances DryRun', 'StartInstances'])
  })

  it('gives the memory up only for a start that can be', async () => {
    await setUp('stopped', { memory: MEMORY })
    const refuse = new ApiError('InsufficientInstanceCapacity', 'no room', 500)
    const start = startInstance(ambient(api({ refuse })), await instance(), { isCold: true, wait: true })
    await expect(start).rejects.toThrow('no room')
    expect(instanceDoc(await row()).memory).toEqual(MEMORY)
  })
})

it('hearth start --cold has the memory of an instance that could not be started after all deleted by its host', async () => {
  await setUp('stopped', { memory: MEMORY })
  const client = api()
  const call = client.call.bind(client)
  client.call = async (action, input = {}) => {
    if (action === 'StartInstances' && !input.DryRun) throw new ApiError('InsufficientInstanceCapacity', 'no room', 500)
    return call(action, input)
  }
  await expect(startInstance(ambient(client), await instance(), { isCold: true, wait: true })).rejects.toThrow('no room')
  expect(instanceDoc(await row()).memory?.state).toBe('given-up')
  const work = await test.store.read((db) => db.selectFrom('work').select(['kind', 'id']).execute())
  expect(work).toContainEqual({ kind: 'instance', id })
})

describe('hearth stop', () => {
  it('asks for what it was told, and waits', async () => {
    await setUp('running')
    const client = api()
    const early = await stopInstance(ambient(client), await instance(), { hibernate: false, force: false, wait: false })
    expect(early.state).toBe('stopping')
    const waiting = ambient(client, becomes('stopped'))
    const late = await stopInstance(waiting, await instance(), { hibernate: false, force: true, wait: true })
    expect(late).toEqual({ instanceId: id, state: 'stopped', isHibernated: false })
    expect(client.asked).toEqual(['StopInstances', 'StopInstances Force'])
  })

  it('says so when it became a stop without hibernation', async () => {
    await setUp('running')
    const hibernate = { hibernate: true, force: false, wait: true }
    const kept = await stopInstance(ambient(api(), becomes('stopped', { memory: MEMORY })), await instance(), hibernate)
    expect(kept).toMatchObject({ state: 'stopped', isHibernated: true })
    test = await openTestStore()
    await setUp('running')
    const stateReason = { code: 'Server.InternalError', message: 'no room for its memory' }
    await expect(stopInstance(ambient(api(), becomes('stopped', { stateReason })), await instance(), hibernate))
      .rejects.toThrow(`${id} is stopped, and was not hibernated: no room for its memory`)
  })
})

describe('hearth status', () => {
  const shown = async () => formatStatus({
    home: '/h', isUp: false, endpoint: null, serialConsole: null, processes: {}, region: 'us-east-1', regions: ['us-east-1'],
    host: null, zones: [], room: null, recycleBin: null, spot: null,
    restorable: 0, warnings: [], instances: await listInstances(test.store), images: [],
  }, NOW_MS)

  it('tells what is hibernated, and why something is down that nobody stopped', async () => {
    await setUp('stopped', { memory: MEMORY, stateReason: STATE_REASONS.userHibernate })
    expect(await shown()).toMatch(/stopped \(hibernated\) +us-east-1a +t3.micro/)
    expect(await shown()).not.toContain('User initiated')
    await becomes('pending')()
    await becomes('stopped', { stateReason: { code: 'Server.InternalError', message: 'Server.InternalError: it is damaged' } })()
    expect(await shown()).toContain(`\n\n${id} is stopped: Server.InternalError: it is damaged\n\n`)
  })
})

describe('in a zone that has failed', () => {
  const fail = async () => {
    const { zone } = await row()
    await test.run(({ db }) => failZone(db, zone))
  }
  const why = /is in us-east-1\w, which has failed; to heal it: .* zone heal us-east-1\w --home \/srv\/hearth$/

  it('a stop is written, and not waited for', async () => {
    await setUp('running')
    await fail()
    await expect(stopInstance(ambient(api()), await instance(), { hibernate: false, force: false, wait: true })).rejects.toThrow(why)
    expect((await row()).state).toBe('stopping')
  })

  it('a stop that began before the failure is waited for no longer', async () => {
    await setUp('running')
    await expect(stopInstance(ambient(api(), fail), await instance(), { hibernate: false, force: false, wait: true })).rejects.toThrow(why)
  })

  it('a start is refused before anything is asked for', async () => {
    await setUp('stopped')
    await fail()
    const client = api()
    await expect(startInstance(ambient(client), await instance(), { isCold: false, wait: false })).rejects.toThrow(why)
    expect(client.asked).toEqual([])
  })
})
