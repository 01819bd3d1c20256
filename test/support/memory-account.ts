import { ApiError } from '../../src/core/errors.ts'
import { newId } from '../../src/core/ids.ts'
import type { Context } from '../../src/ec2/context.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { NOW_MS, openTestStore, REGION } from './rows.ts'

/** The default account in a fresh test store, seen as its user sees it: through calls. */
export interface MemoryAccount {
  store: Store
  /** Runs a handler in a transaction, as the dispatcher does. */
  call<Input, Output>(handler: (context: Context, input: Input) => Promise<Output>, input: Input): Promise<Output>
  /** The same as another account. */
  callAs<Input, Output>(account: string, handler: (context: Context, input: Input) => Promise<Output>, input: Input): Promise<Output>
  /** "Code: message" of the ApiError that the handler ends in. */
  failure<Input>(handler: (context: Context, input: Input) => Promise<unknown>, input: Input): Promise<string>
  query<T>(body: (db: Db) => Promise<T>): Promise<T>
  defaultVpcId: string
  /** Moves the time of calls on, so that what they make sorts after what is there. */
  pass(ms: number): void
  /** Adds an empty VPC that is not the default one. */
  addVpc(vpcId: string): Promise<void>
  /** Puts a network interface into a subnet of the default VPC; `hostId` null for one that is not up. */
  addInterface(subnetId: string, address: string, hostId: string | null): Promise<void>
}

/** Opens the store; every id follows from `seed`. */
export async function openMemoryAccount(seed = 1): Promise<MemoryAccount> {
  const { store, random, run } = await openTestStore(seed)
  let nowMs = NOW_MS
  const query = <T>(body: (db: Db) => Promise<T>) => run(({ db }) => body(db))
  const call: MemoryAccount['call'] = (handler, input) => run((context) => handler({ ...context, nowMs }, input))
  const callAs: MemoryAccount['callAs'] = (account, handler, input) => run((context) => handler({ ...context, nowMs }, input), account)
  const { vpc_id: defaultVpcId } = await query((db) =>
    db.selectFrom('vpcs').select('vpc_id').where('account_id', '=', DEFAULT_ACCOUNT).executeTakeFirstOrThrow())
  return {
    store, call, callAs, query, defaultVpcId,
    failure: (handler, input) => call(handler, input).then(() => 'no failure', apiErrorText),
    pass: (ms) => void (nowMs += ms),
    addVpc: (vpcId) => query(async (db) => {
      await db
        .insertInto('vpcs')
        .values({
          vpc_id: vpcId, account_id: DEFAULT_ACCOUNT, cidr: '10.0.0.0/16', is_default: 0, state: 'available',
          created_ms: nowMs, doc: JSON.stringify({ dhcpOptionsId: newId(random, 'dopt') }),
        })
        .execute()
    }),
    addInterface: (subnetId, address, hostId) => query(async (db) => {
      await db
        .insertInto('interfaces')
        .values({
          interface_id: newId(random, 'eni'), account_id: DEFAULT_ACCOUNT, vpc_id: defaultVpcId, subnet_id: subnetId,
          zone: `${REGION}a`, instance_id: null, host_id: hostId, slot: null, device_index: 0, private_ip: address,
          mac: random.bytes(6).toString('hex'), public_ip: null, status: 'pending', wanted: hostId === null ? 0 : 1,
          ready: 0, delete_on_termination: 1, created_ms: nowMs, revision: 1, synced_revision: 0,
          source_dest_check: 1, requester_id: null, doc: '{}',
        })
        .execute()
    }),
  }
}

function apiErrorText(error: unknown): string {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`
  throw error
}
