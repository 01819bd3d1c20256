import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Context } from '../../src/ec2/context.ts'
import { startInstances } from '../../src/ec2/instance-lifecycle.ts'
import { runInstances } from '../../src/ec2/run-instances.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { capacityProblems } from '../../src/model/capacity-audit.ts'
import { instanceDoc, moveInstance, type InstanceState } from '../../src/model/instance.ts'
import { createReservationReconciler } from '../../src/reconcile/reservation.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { fixedClock, HOST_ID, insertImage, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION } from './rows.ts'

/** What an account does to the hosts of a lab; launched instances are running at once, unless they wait for others to leave. */
export interface LabAccount {
  call<Input, Output>(handler: (context: Context, input: Input) => Promise<Output>, input: Input): Promise<Output>
  /** "Code: message" of the ApiError that the handler ends in. */
  failure<Input>(handler: (context: Context, input: Input) => Promise<unknown>, input: Input): Promise<string>
  /** Ids of the instances of one call: one of them unless the input says otherwise. */
  launch(input: Partial<RunInstancesRequest>): Promise<string[]>
  launchFailure(input: Partial<RunInstancesRequest>): Promise<string>
  stop(id: string | undefined): Promise<void>
  start(id: string | undefined): Promise<void>
  startFailure(id: string): Promise<string>
  terminate(id: string | undefined): Promise<void>
}

/** Hosts of several zones without anything on them, and two accounts that share them. */
export interface CapacityLab extends LabAccount {
  store: Store
  as(who: 'other'): LabAccount
  /** Moves the time of calls on. */
  pass(ms: number): void
  /** Host → "vCPUs MiB" that are counted as used. */
  used(): Promise<Record<string, string>>
  /** In which reservation each of the instances is. */
  reservationsOf(ids: readonly (string | undefined)[]): Promise<(string | null)[]>
  /** The states of all that are there, by id. */
  states(): Promise<Record<string, InstanceState>>
  /** What is wrong with the counters of hosts, reservations and dedicated hosts, and which hosts have machines that they have no room for. */
  problems(): Promise<string[]>
  /** Runs what is due of the kind `reservation`, as the agent of a node does. */
  runDueWork(): Promise<void>
  close(): Promise<void>
}

export interface LabOptions {
  /** Host → zone. */
  hosts: Record<string, string>
  /** What each of them promises. */
  vcpus: number
  memoryMib: number
  seed?: number
}

export async function openCapacityLab({ hosts, vcpus, memoryMib, seed }: LabOptions): Promise<CapacityLab> {
  const { store, run } = await openTestStore(seed)
  let nowMs = NOW_MS
  const imageId = await run(async (context) => {
    // The node stays, which promises nothing itself; these are in place of its hosts.
    await context.db.deleteFrom('hosts').where('zone', 'is not', null).execute()
    for (const [host, zone] of Object.entries(hosts)) {
      await context.db.insertInto('hosts').values({
        host_id: host, node_id: HOST_ID, zone, zone_revision: 0, epoch: 1, region: REGION, vcpus, memory_mib: memoryMib, vcpus_used: 0,
        memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
      }).execute()
    }
    return (await insertImage(context)).image_id
  })
  /** Starts the machines of all that wait for nobody. */
  const runAll = () => run(async ({ db }) => {
    for (const row of await db.selectFrom('instances').selectAll().where('state', '=', 'pending').execute()) {
      if ((instanceDoc(row).waitsFor ?? []).length === 0) await moveInstance(db, row, 'running', nowMs)
    }
  })
  const accountOf = (account: string): LabAccount => {
    const call: LabAccount['call'] = (handler, input) => run((context) => handler({ ...context, nowMs }, input), account)
    const failure: LabAccount['failure'] = (handler, input) => call(handler, input).then(() => 'no failure', apiErrorText)
    const inputOf = (input: Partial<RunInstancesRequest>): RunInstancesRequest => ({ ImageId: imageId, MinCount: 1, MaxCount: 1, ...input })
    const move = (id: string | undefined, ...states: InstanceState[]) => run(async ({ db }) => {
      for (const state of states) {
        const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', id ?? '').executeTakeFirstOrThrow()
        await moveInstance(db, row, state, nowMs)
      }
    })
    return {
      call, failure,
      launch: async (input) => {
        const { Instances = [] } = await call(runInstances, inputOf(input))
        const ids = Instances.map((each) => each.InstanceId ?? '')
        await runAll()
        return ids
      },
      launchFailure: (input) => failure(runInstances, inputOf(input)),
      stop: async (id) => {
        await move(id, 'stopping', 'stopped')
        await runAll()
      },
      start: async (id) => {
        await call(startInstances, { InstanceIds: [id ?? ''] })
        await runAll()
      },
      startFailure: (id) => failure(startInstances, { InstanceIds: [id] }),
      terminate: async (id) => {
        await move(id, 'shutting-down', 'terminated')
        await runAll()
      },
    }
  }
  return {
    ...accountOf(DEFAULT_ACCOUNT), store,
    as: () => accountOf(OTHER_ACCOUNT),
    pass: (ms) => void (nowMs += ms),
    used: async () => {
      const rows = await store.read((db) => db.selectFrom('hosts').selectAll().where('host_id', '<>', HOST_ID).orderBy('host_id').execute())
      return Object.fromEntries(rows.map((row) => [row.host_id, `${row.vcpus_used} ${row.memory_mib_used}`]))
    },
    reservationsOf: (ids) => store.read(async (db) => {
      const rows = await db.selectFrom('instances').select(['instance_id', 'capacity_reservation_id']).execute()
      return ids.map((id) => rows.find((row) => row.instance_id === id)?.capacity_reservation_id ?? null)
    }),
    states: async () => Object.fromEntries(
      (await store.read((db) => db.selectFrom('instances').select(['instance_id', 'state']).execute())).map((row) => [row.instance_id, row.state])),
    problems: () => store.read(async (db) => [...await capacityProblems(db), ...await overfullHosts(db)]),
    runDueWork: async () => {
      const due = await store.read((db) =>
        db.selectFrom('work').selectAll().where('kind', '=', 'reservation').where('host_id', '=', HOST_ID).where('due_ms', '<=', nowMs).execute())
      const reconciler = createReservationReconciler({ store, clock: { ...fixedClock, now: () => nowMs }, log: silentLogger })
      for (const { id } of due) {
        const outcome = await reconciler.reconcile(id)
        await store.transaction('test', async (db) => outcome.observed?.write(db))
      }
    },
    close: () => store.close(),
  }
}

/** Hosts whose machines take more than there is, whatever is promised to whom. */
async function overfullHosts(db: Db): Promise<string[]> {
  const machines = await db
    .selectFrom('instances').select(['host_id', 'vcpus', 'memory_mib']).where('state', 'in', ['running', 'stopping', 'shutting-down']).execute()
  const hosts = await db.selectFrom('hosts').selectAll().where('zone', 'is not', null).execute()
  return hosts.filter((host) => {
    const there = machines.filter((row) => row.host_id === host.host_id)
    const sum = (of: (row: (typeof there)[number]) => number) => there.reduce((total, row) => total + of(row), 0)
    return sum((row) => row.vcpus) > host.vcpus || sum((row) => row.memory_mib) > host.memory_mib
  }).map((host) => `more runs on ${host.host_id} than it has room for`)
}

function apiErrorText(error: unknown): string {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`
  throw error
}
