import type { Reservation } from '@aws-sdk/client-ec2'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { DEFAULT_ACCOUNT, ensureAccount, PROVIDER_ACCOUNT } from '../../src/model/account.ts'
import { moveInstance } from '../../src/model/instance.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { hasPostgres, newDatabase, openTestPostgres } from '../support/postgres.ts'
import { fixedClock, HOST_ID, insertHost, insertImage, NOW_MS, OTHER_ACCOUNT, REGION, testContext, ZONES } from '../support/rows.ts'
import type { WorkerAnswer } from '../support/store-worker.ts'
import { startStoreWorkers, type StoreWorkers } from '../support/store-workers.ts'

// Eight processes launch, start and delete at the same moment. Each alone sees a place that is free; together they must not
// promise a host twice, nor put next to each other what is to be apart.

const PROCESSES = 8
const ROUNDS = 4
/** Hosts of each zone, of 16 vCPUs. */
const HOSTS = ['1', '2', '3']

const kinds: { name: string; database: (folder: string) => Promise<string> }[] = [
  { name: 'SQLite', database: async (folder) => path.join(folder, 'hearth.db') },
  ...(hasPostgres() ? [{ name: 'PostgreSQL', database: () => newDatabase() }] : []),
]

describe.each(kinds)('places taken by several processes on $name', ({ name, database }) => {
  let folder: string
  let store: Store
  let workers: StoreWorkers
  let imageId: string

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-places-'))
    const where = await database(folder)
    store = name === 'SQLite' ? await openSqlite({ file: where, durability: 'full' }) : await openTestPostgres(where)
    const random = seededRandom(1)
    await store.transaction('setup', async (db) => {
      for (const accountId of [DEFAULT_ACCOUNT, OTHER_ACCOUNT, PROVIDER_ACCOUNT]) {
        await ensureAccount(db, { clock: fixedClock, random, zones: ZONES }, { accountId, name: accountId })
      }
      await insertHost(db)
      imageId = (await insertImage(testContext(db, random))).image_id
      await db.deleteFrom('hosts').where('zone', 'is not', null).execute()
      for (const zone of ZONES) {
        for (const host of HOSTS) {
          await db.insertInto('hosts').values({
            host_id: `${zone}-${host}`, node_id: HOST_ID, zone, zone_revision: 0, epoch: 1, region: REGION, vcpus: 16, memory_mib: 65_536,
            vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
          }).execute()
        }
      }
    })
    workers = await startStoreWorkers(where, PROCESSES)
  })
  afterAll(async () => {
    await workers.close()
    await store.close()
    await rm(folder, { recursive: true })
  })
  afterEach(() => terminateAll())

  const rows = () => store.read((db) => db.selectFrom('instances').selectAll().where('state', '<>', 'terminated').orderBy('instance_id').execute())
  const terminateAll = async () => {
    for (const row of await rows()) {
      await store.transaction('end', async (db) => {
        const ending = await moveInstance(db, row, 'shutting-down', NOW_MS)
        if (ending) await moveInstance(db, ending, 'terminated', NOW_MS)
      })
    }
  }
  const stop = async (ids: readonly string[]) => {
    for (const row of (await rows()).filter((each) => ids.includes(each.instance_id))) {
      await store.transaction('stop', (db) => moveInstance(db, row, 'stopped', NOW_MS))
    }
  }
  const launch = (Placement: object = {}, more: object = {}) => ({
    action: 'RunInstances', input: { ImageId: imageId, InstanceType: 'm5.large', MinCount: 1, MaxCount: 1, Placement, ...more },
  })
  const inZone = { AvailabilityZone: `${REGION}a` }
  const times = <T>(count: number, one: (index: number) => T) => Array.from({ length: count }, (_each, index) => one(index))
  const outcomeOf = (answer: WorkerAnswer) =>
    ('output' in answer ? 'ok' : (answer.error.startsWith('InternalError') ? answer.error : (answer.error.split(':')[0] ?? '')))
  const outcomes = (answers: WorkerAnswer[]) => answers.map(outcomeOf).toSorted()
  const idsOf = (answers: WorkerAnswer[]) => answers.flatMap((answer) =>
    ('output' in answer ? ((answer.output as Reservation).Instances ?? []) : []).map((each) => each.InstanceId ?? ''))
  const newGroup = async (GroupName: string, Strategy: string, more: object = {}) => {
    const [made] = await workers.callAll([{ action: 'CreatePlacementGroup', input: { GroupName, Strategy, ...more } }])
    expect(made && outcomeOf(made)).toBe('ok')
    return GroupName
  }
  const members = async () => (await rows()).filter((each) => each.holds_capacity === 1)
  /** Hosts of several instances that hold capacity. */
  const shared = async () => {
    const hosts = (await members()).map((each) => each.host_id)
    return hosts.filter((host, index) => hosts.indexOf(host) !== index)
  }
  /** Hosts whose count is not the sum of what is there, or more than there is. */
  const miscounted = async () => {
    const holders = await members()
    const hosts = await store.read((db) => db.selectFrom('hosts').selectAll().execute())
    return hosts.filter((host) => {
      const sum = holders.filter((each) => each.host_id === host.host_id).reduce((total, each) => total + each.vcpus, 0)
      return sum !== host.vcpus_used || host.vcpus_used > host.vcpus || host.memory_mib_used > host.memory_mib
    }).map((host) => host.host_id)
  }

  test('a spread group gets as many instances as the zone has hosts, each on its own', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const GroupName = await newGroup(`spread-${round}`, 'spread')
      const answers = await workers.callAll(times(PROCESSES, () => launch({ ...inZone, GroupName })))
      expect(outcomes(answers)).toEqual([...times(5, () => 'InsufficientInstanceCapacity'), ...times(3, () => 'ok')])
      expect([await shared(), await miscounted()]).toEqual([[], []])
      await terminateAll()
    }
  })

  test('a spread group stays apart when stopped instances are started while others are launched', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const GroupName = await newGroup(`restarted-${round}`, 'spread')
      const ids = idsOf(await workers.callAll(times(3, () => launch({ ...inZone, GroupName }))))
      await stop(ids)
      const answers = await workers.callAll([
        ...ids.map((id) => ({ action: 'StartInstances', input: { InstanceIds: [id] } })), ...times(5, () => launch({ ...inZone, GroupName })),
      ])
      expect(outcomes(answers)).toEqual([...times(5, () => 'InsufficientInstanceCapacity'), ...times(3, () => 'ok')])
      expect([await shared(), await miscounted()]).toEqual([[], []])
      await terminateAll()
    }
  })

  test('partitions share no host', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const GroupName = await newGroup(`partition-${round}`, 'partition', { PartitionCount: 3 })
      const answers = await workers.callAll(times(PROCESSES, (n) =>
        launch({ ...inZone, GroupName, ...(n % 2 === 0 ? {} : { PartitionNumber: 1 + (n % 3) }) })))
      // One that comes late may find the last host taken by another partition; it is refused, and nothing is shared.
      expect(outcomes(answers).filter((each) => !['ok', 'InsufficientInstanceCapacity'].includes(each))).toEqual([])
      const found = await members()
      expect(new Set(found.map((each) => `${each.host_id} ${each.partition_number}`)).size).toBe(new Set(found.map((each) => each.host_id)).size)
      expect(await miscounted()).toEqual([])
      await terminateAll()
    }
  })

  test('a cluster comes to be in one zone, whichever process is first', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const GroupName = await newGroup(`cluster-${round}`, 'cluster')
      const answers = await workers.callAll(times(PROCESSES, () => launch({ GroupName })))
      expect(outcomes(answers)).toEqual(times(PROCESSES, () => 'ok'))
      expect(new Set((await members()).map((each) => each.zone)).size).toBe(1)
      await terminateAll()
    }
  })

  test('a group is deleted, or an instance is launched into it, and never both', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const GroupName = await newGroup(`deleted-${round}`, 'spread')
      const [deleted, ...launched] = await workers.callAll([
        { action: 'DeletePlacementGroup', input: { GroupName } }, launch({ GroupName }), launch({ GroupName }),
      ])
      expect([deleted && outcomeOf(deleted), ...outcomes(launched)].join()).toBeOneOf([
        'ok,InvalidPlacementGroup.Unknown,InvalidPlacementGroup.Unknown', 'InvalidPlacementGroup.InUse,ok,ok',
      ])
      await terminateAll()
    }
  })

  test('one of eight that want the same name for a group gets it', async () => {
    const answers = await workers.callAll(times(PROCESSES, () => ({ action: 'CreatePlacementGroup', input: { GroupName: 'same', Strategy: 'spread' } })))
    expect(outcomes(answers)).toEqual([...times(7, () => 'InvalidPlacementGroup.Duplicate'), 'ok'])
  })

  test('a dedicated instance is never beside one of another account', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const answers = await workers.callAll(times(PROCESSES, (n) => (n % 2 === 0
        ? { ...launch({ ...inZone, Tenancy: 'dedicated' }), account: DEFAULT_ACCOUNT } : { ...launch(inZone), account: OTHER_ACCOUNT })))
      expect(outcomes(answers).filter((each) => !['ok', 'InsufficientInstanceCapacity'].includes(each))).toEqual([])
      const found = await members()
      const beside = found.filter((each) => each.tenancy === 'dedicated' && found.some((other) =>
        other.host_id === each.host_id && other.account_id !== each.account_id))
      expect(beside).toEqual([])
      await terminateAll()
    }
  })

  test('hosts are filled to the last vCPU and not beyond, by launches of several and starts', async () => {
    // Nine hosts of eight m5.large each; 24 of these are stopped and wait to be started.
    const before = idsOf(await workers.callAll(times(PROCESSES, () => launch({}, { MinCount: 3, MaxCount: 3 }))))
    await stop(before)
    const starts = before.map((id) => ({ action: 'StartInstances', input: { InstanceIds: [id] } }))
    for (let round = 0; round < 3; round++) {
      const answers = await workers.callAll([
        ...starts.slice(round * 4, round * 4 + 4), ...times(4, () => launch({}, { MinCount: 1, MaxCount: 6 })),
      ])
      expect(outcomes(answers).filter((each) => !['ok', 'InsufficientInstanceCapacity'].includes(each))).toEqual([])
      expect(await miscounted()).toEqual([])
    }
    // Whatever is left goes to whoever asks for little; then nothing does.
    for (let round = 0; round < 3; round++) await workers.callAll(times(PROCESSES, () => launch({}, { MinCount: 1, MaxCount: 8 })))
    const last = await workers.callAll(times(PROCESSES, () => launch()))
    expect([await miscounted(), outcomes(last)]).toEqual([[], times(PROCESSES, () => 'InsufficientInstanceCapacity')])
    const { vcpus, used } = await store.read((db) => db.selectFrom('hosts')
      .select((eb) => [eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('vcpus_used').as('used')]).executeTakeFirstOrThrow())
    expect(Number(used)).toBe(Number(vcpus))
  })
})
