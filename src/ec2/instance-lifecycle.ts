import type {
  InstanceStateChange, RebootInstancesRequest, StartInstancesRequest, StartInstancesResult, StopInstancesRequest,
  StopInstancesResult, TerminateInstancesRequest, TerminateInstancesResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import {
  changeInstanceDoc, instanceDoc, moveInstance, STATE_CODES, STATE_REASONS, userInitiated, type InstanceState,
} from '../model/instance.ts'
import { wakeEvents } from '../model/instance-event.ts'
import { interruptionOf, withoutNotice } from '../model/spot-interruption.ts'
import type { InstanceTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { checkHibernationConfigured, checkReadyToHibernate } from './hibernation.ts'
import { incorrectState, requireInstances } from './instance-rows.ts'
import { refuseParameters } from './parameters.ts'
import { checkSpotStart, checkSpotStop, noteSpotStart, noteSpotStop } from './spot-instance-rules.ts'
import { startAgain } from './start-again.ts'

/**
 * StartInstances: stopped instances become pending, with a new public address where they have one. What was kept of a
 * hibernated one's memory is the reconciler's to load. A spot instance is started only after its user has stopped it.
 */
export async function startInstances(context: Context, input: StartInstancesRequest): Promise<StartInstancesResult> {
  refuseParameters(input, ['AdditionalInfo'])
  const changes = await changeEach(context, input.InstanceIds, async (row) => {
    if (row.state === 'pending' || row.state === 'running') return row
    if (row.state !== 'stopped') {
      throw incorrectState(`The instance '${row.instance_id}' is not in a state from which it can be started.`)
    }
    if (row.lifecycle !== 'spot') return startAgain(context, row)
    const request = await checkSpotStart(context, row)
    const started = await startAgain(context, row)
    await noteSpotStart(context, request)
    return started
  })
  return { StartingInstances: changes }
}

/**
 * StopInstances: the guest is asked to shut down. Force leaves it little time, SkipOsShutdown none; with Hibernate what is
 * in its memory is kept, and a Force that comes later gives that up.
 *
 * @throws ApiError IncorrectInstanceState; OperationNotPermitted for a protected instance;
 *   UnsupportedHibernationConfiguration, UnsupportedOperation for one that cannot be hibernated, or not yet.
 */
export async function stopInstances(context: Context, input: StopInstancesRequest): Promise<StopInstancesResult> {
  const { Force: force = false, Hibernate: hibernate = false, SkipOsShutdown: skipOsShutdown = false } = input
  if (force && hibernate) {
    throw new ApiError(
      'InvalidParameterCombination', 'The parameters Force and Hibernate cannot be used together: force gives hibernation up.',
    )
  }
  const changes = await changeEach(context, input.InstanceIds, async (row) => {
    if (hibernate) checkHibernationConfigured(row)
    checkStoppable(row)
    if (row.state === 'stopped') return row
    if (row.state === 'stopping') {
      await hasten(context, row, { force, skipOsShutdown })
      return row
    }
    if (instanceDoc(row).options.disableApiStop) throw protectedFrom('stopped', 'disableApiStop', row)
    await checkSpotStop(context, row, { hibernate })
    if (hibernate) checkReadyToHibernate(row)
    await noteSpotStop(context, row)
    return mustMove(context, row, 'stopping', {
      ...withoutNotice(instanceDoc(row)),
      stateReason: hibernate ? STATE_REASONS.userHibernate : STATE_REASONS.userShutdown,
      stateTransitionReason: userInitiated(context.nowMs),
      force, hibernate, skipOsShutdown,
    })
  })
  return { StoppingInstances: changes }
}

function checkStoppable(row: InstanceTable): void {
  if (row.state === 'pending' && !instanceDoc(row).hasRun) {
    throw incorrectState(`Instance '${row.instance_id}' cannot be stopped as it has never reached the 'running' state.`)
  }
  if (row.state === 'running' || row.state === 'stopping' || row.state === 'stopped') return
  throw incorrectState(`This instance '${row.instance_id}' is not in a state from which it can be stopped.`)
}

/** A shutdown that is under way is to take less time; one that was to keep the guest's memory does not when it is forced. */
async function hasten(
  { db }: Context,
  row: InstanceTable,
  { force, skipOsShutdown }: { force: boolean; skipOsShutdown: boolean },
): Promise<void> {
  const { hibernate } = instanceDoc(row)
  const isInterrupted = interruptionOf(row) !== null
  await changeInstanceDoc(db, row.instance_id, {
    ...(force ? { force } : {}),
    ...(force && hibernate ? { hibernate: false, ...(isInterrupted ? {} : { stateReason: STATE_REASONS.userShutdown }) } : {}),
    ...(skipOsShutdown ? { skipOsShutdown } : {}),
  })
}

/**
 * TerminateInstances: idempotent, also on what is terminated already. One unknown id: nothing is
 * terminated. A protected instance spares all those named in its zone, while those in other zones
 * are terminated; the call fails nevertheless, and so the error is returned, for what was done to stand. Force leaves
 * the guest less time to shut down, SkipOsShutdown none.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
 */
export async function terminateInstances(
  context: Context,
  input: TerminateInstancesRequest,
): Promise<TerminateInstancesResult | ApiError> {
  const { Force: force = false, SkipOsShutdown: skipOsShutdown = false } = input
  const failures = new Map<string, ApiError>()
  for (const row of await requireInstances(context, input.InstanceIds)) {
    const failure = terminationFailure(row)
    if (failure && !failures.has(row.zone)) failures.set(row.zone, failure)
  }
  const changes = await changeEach(context, input.InstanceIds, async (row) => {
    if (failures.has(row.zone)) return row
    if (row.state === 'terminated') return row
    if (row.state === 'shutting-down') {
      await hasten(context, row, { force, skipOsShutdown })
      return row
    }
    return mustMove(context, row, 'shutting-down', {
      ...withoutNotice(instanceDoc(row)),
      stateReason: STATE_REASONS.userShutdown,
      stateTransitionReason: userInitiated(context.nowMs),
      force, hibernate: false, skipOsShutdown,
    })
  })
  const [failure] = failures.values()
  return failure ?? { TerminatingInstances: changes }
}

/** Why an instance may not be terminated; undefined when it may, or is on its way already. */
function terminationFailure(row: InstanceTable): ApiError | undefined {
  if (row.state === 'shutting-down' || row.state === 'terminated') return undefined
  const { disableApiTermination, disableApiStop } = instanceDoc(row).options
  if (disableApiTermination) return protectedFrom('terminated', 'disableApiTermination', row)
  return disableApiStop ? protectedFrom('terminated', 'disableApiStop', row) : undefined
}

function protectedFrom(verb: 'stopped' | 'terminated', attribute: string, row: InstanceTable): ApiError {
  return new ApiError(
    'OperationNotPermitted',
    `The instance '${row.instance_id}' may not be ${verb}. Modify its '${attribute}' instance attribute and try again.`,
  )
}

/**
 * RebootInstances: one more requested generation; the agent completes it, where its zone has failed after the heal: "it only
 * queues a request to reboot" (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RebootInstances.html).
 *
 * @throws ApiError IncorrectInstanceState.
 */
export async function rebootInstances(context: Context, input: RebootInstancesRequest): Promise<Record<string, never>> {
  for (const row of await requireInstances(context, input.InstanceIds)) {
    // EC2 ignores terminated instances here; what has not booted or is going down cannot be rebooted.
    if (row.state === 'terminated' || row.state === 'shutting-down') continue
    if (row.state !== 'running') {
      throw incorrectState(`The instance '${row.instance_id}' is not in the 'running' state.`)
    }
    await context.db
      .updateTable('instances')
      .set({ reboot_requested: row.reboot_requested + 1 })
      .where('instance_id', '=', row.instance_id).execute()
    await enqueue(context.db, { kind: 'instance', id: row.instance_id, hostId: row.host_id }, context.nowMs)
  }
  return {}
}

/** Applies `change` to every instance, marks it due and answers the changes of state. */
async function changeEach(
  context: Context,
  ids: string[] | undefined,
  change: (row: InstanceTable) => Promise<InstanceTable>,
): Promise<InstanceStateChange[]> {
  const changes: InstanceStateChange[] = []
  for (const row of await requireInstances(context, ids)) {
    const after = await change(row)
    await enqueue(context.db, { kind: 'instance', id: row.instance_id, hostId: row.host_id }, context.nowMs)
    await wakeEvents(context.db, row, context.nowMs)
    changes.push({
      InstanceId: row.instance_id, CurrentState: stateToWire(after.state), PreviousState: stateToWire(row.state),
    })
  }
  return changes
}

async function mustMove(
  { db, nowMs }: Context,
  row: InstanceTable,
  to: InstanceState,
  change: Parameters<typeof moveInstance>[4],
): Promise<InstanceTable> {
  const moved = await moveInstance(db, row, to, nowMs, change)
  if (!moved) throw new Error(`${row.instance_id} left ${row.state} inside a transaction`)
  return moved
}

function stateToWire(state: InstanceState) {
  return { Code: STATE_CODES[state], Name: state }
}
