import { ApiError } from '../../src/core/errors.ts'
import type { Context } from '../../src/ec2/context.ts'
import { instanceDoc, type InstanceDoc } from '../../src/model/instance.ts'
import type { InstanceTable } from '../../src/store/schema.ts'
import { NOW_MS, openTestStore } from './rows.ts'

/** A store in memory for tests that put rows into it and call handlers on them. */
export interface AttributeLab {
  /** Runs `body` in a transaction of the default account. */
  run<T>(body: (context: Context) => Promise<T>): Promise<T>
  /** Calls a handler as the dispatcher does; an error that it returns is thrown after its transaction. */
  call<Input, Output>(handler: (context: Context, input: Input) => Promise<Output>, input: Input): Promise<Exclude<Output, ApiError>>
  /** "Code: message" of the error that the handler ends in. */
  failure<Input>(handler: (context: Context, input: Input) => Promise<unknown>, input: Input): Promise<string>
  /** An instance as it is now. */
  row(instanceId: string): Promise<InstanceTable & { parsed: InstanceDoc }>
  /** Kinds and ids of the work that is due. */
  work(): Promise<string[]>
  /** Moves the time of calls on. */
  pass(ms: number): void
}

export async function openAttributeLab(): Promise<AttributeLab> {
  const { run: runAt } = await openTestStore()
  let nowMs = NOW_MS
  const run: AttributeLab['run'] = (body) => runAt((context) => body({ ...context, nowMs }))
  const call: AttributeLab['call'] = async (handler, input) => {
    const output = await run((context) => handler(context, input))
    if (output instanceof ApiError) throw output
    return output as Exclude<typeof output, ApiError>
  }
  return {
    run,
    call,
    pass: (ms) => void (nowMs += ms),
    failure: (handler, input) => call(handler, input).then(() => 'no failure', textOf),
    row: (instanceId) => run(async ({ db }) => {
      const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirstOrThrow()
      return { ...row, parsed: instanceDoc(row) }
    }),
    work: () => run(async ({ db }) => {
      const rows = await db.selectFrom('work').select(['kind', 'id']).orderBy('kind').orderBy('id').execute()
      return rows.map(({ kind, id }) => `${kind} ${id}`)
    }),
  }
}

function textOf(error: unknown): string {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`
  throw error
}
