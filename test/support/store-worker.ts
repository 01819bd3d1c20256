import { parseCidr } from '../../src/core/cidr.ts'
import { systemClock } from '../../src/core/clock.ts'
import { ApiError, messageOf } from '../../src/core/errors.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { Context } from '../../src/ec2/context.ts'
import { operations } from '../../src/ec2/index.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'

// A process of its own that calls handlers on one database, as an API process does: told what over
// its channel, answering there. `store-workers.ts` starts it.

export interface WorkerCall {
  id: number
  action: string
  input: object
  /** Whose call it is; the default account's by default. */
  account?: string
}

/** What the handler answered, or "Code: sentence" of what it refused with. */
export type WorkerAnswer = { id: number; output: object } | { id: number; error: string }

function openDatabase(database: string): Promise<Store> {
  if (!database.startsWith('postgresql:')) return openSqlite({ file: database, durability: 'full' })
  return openPostgres({ url: database, durability: 'full', clock: systemClock, random: systemRandom })
}

const store = await openDatabase(process.argv[2] ?? '')

async function run({ id, action, input, account = DEFAULT_ACCOUNT }: WorkerCall): Promise<WorkerAnswer> {
  const operation = operations[action]
  if (!operation) throw new Error(`no such action: ${action}`)
  const context: Omit<Context, 'db'> = {
    account, region: 'us-east-1', regions: ['us-east-1'], zones: ['us-east-1a'], placement: 'spread', nowMs: systemClock.now(),
    random: systemRandom, requestId: `request-${id}`,
    accessKeyId: null, publicPool: parseCidr('198.18.0.0/20') ?? { base: 0, prefix: 0 },
  }
  try {
    const output = await store.transaction(action, (db) => operation.handle({ ...context, db }, input, undefined))
    return { id, output: output ?? {} }
  } catch (error) {
    return { id, error: error instanceof ApiError ? `${error.code}: ${error.message}` : `InternalError: ${messageOf(error)}` }
  }
}

process.on('message', (call: WorkerCall) => void run(call).then((answer) => process.send?.(answer)))
process.on('disconnect', () => void store.close().then(() => process.exit(0)))
process.send?.('ready')
