import type { Clock } from './core/clock.ts'
import { ApiError } from './core/errors.ts'
import type { Random } from './core/random.ts'
import { operations as ec2Operations } from './ec2/index.ts'
import type { Context } from './ec2/context.ts'
import type { Operation } from './ec2/operation.ts'
import { operations as instanceConnectOperations } from './ec2-instance-connect/index.ts'
import type { ApiCall, Dispatch } from './protocol/server.ts'
import { operations as iamOperations } from './iam/index.ts'
import { operations as rbinOperations } from './rbin/index.ts'
import { operations as ssmOperations } from './ssm/index.ts'
import { operations as stsOperations } from './sts/index.ts'
import type { Regions, Region } from './regions.ts'

export interface DispatchOptions {
  regions: Regions
  clock: Clock
  random: Random
  placement: Context['placement']
}

const services: Record<ApiCall['service'], Record<string, Operation>> = {
  ec2: ec2Operations, 'ec2-instance-connect': instanceConnectOperations, iam: iamOperations, rbin: rbinOperations, ssm: ssmOperations, sts: stsOperations,
}

/** Whether an operation is there. */
export function supports(service: ApiCall['service'], action: string): boolean {
  return Object.hasOwn(services[service], action)
}

/** From a decoded call to its output: one transaction or snapshot, DryRun, and nothing else. */
export function createDispatch(options: DispatchOptions): Dispatch {
  return async (call) => {
    const operation = services[call.service][call.action]
    if (!operation) throw new ApiError('InvalidAction', `The action ${call.action} is not valid for this web service.`)
    const { regions, clock } = options
    const here = regions.of(call)
    await regions.ensureAccount(here, call.account)
    const nowMs = clock.now()
    const { account } = call
    const { region, store } = here
    const prepared = await operation.prepare?.(call.input, {
      account, accessKeyId: call.accessKeyId, region, regions: regions.names, nowMs, home: regions.home.store,
      elsewhere: (name) => regions.other(region, name)?.store,
    })
    const output = await inDatabase(options, operation, call, { here, nowMs, prepared })
    if (!operation.mutates) return output ?? {}
    // `--instant`: the only place that knows of it.
    await here.settle?.()
    // A call that failed in part: an error that is returned keeps what was done, one that is thrown does not.
    if (output instanceof ApiError) throw output
    return (await operation.finish?.({ store, clock }, nowMs, call.input, output ?? {})) ?? output ?? {}
  }
}

function inDatabase(
  options: DispatchOptions,
  operation: Operation,
  call: ApiCall,
  { here, nowMs, prepared }: { here: Region; nowMs: number; prepared: unknown },
): Promise<object | void> {
  const { regions, random, placement } = options
  const { store, region, zones, publicPool } = here
  const isDryRun = 'DryRun' in call.input && call.input.DryRun === true
  const ambient: Omit<Context, 'db'> = {
    account: call.account, region, regions: regions.names, zones, placement, nowMs, random, requestId: call.requestId,
    accessKeyId: call.accessKeyId, publicPool,
    ...(call.region === null ? {} : { calledAs: call.region }),
    ...(call.remark ? { remark: call.remark } : {}),
  }
  const judge = (output: object | void) => {
    // Everything was checked by doing it; throwing rolls it back.
    if (isDryRun && output instanceof ApiError) throw output
    if (isDryRun) throw new ApiError('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.')
    return output
  }
  if (operation.read) return operation.read({ ...ambient, read: (body) => store.read(body) }, call.input).then(judge)
  const run = async (db: Context['db']) => judge(await operation.handle({ ...ambient, db }, call.input, prepared))
  return operation.mutates ? store.transaction(call.action, run) : store.read(run)
}
