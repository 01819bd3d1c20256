import type {
  DescribeInstanceCreditSpecificationsRequest, DescribeInstanceCreditSpecificationsResult,
  InstanceCreditSpecificationRequest, ModifyInstanceCreditSpecificationRequest, ModifyInstanceCreditSpecificationResult,
  UnsuccessfulInstanceCreditSpecificationErrorCode,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import { changeInstanceOptions, cpuCreditsOf, instanceDoc, isBurstable } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { requireInstances } from './instance-rows.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { notFoundError, RESOURCE_KINDS } from './resources.ts'
import { creditsNotSupported } from './run-instances-options.ts'

const OPERATION = 'DescribeInstanceCreditSpecifications'

/**
 * DescribeInstanceCreditSpecifications: the option of the burstable instances named; without ids, all
 * that are `unlimited`, also those that were and have a type without credits now.
 *
 * @throws ApiError InstanceCreditSpecification.NotSupported for an id whose type has no CPU credits,
 *   as EC2 answers (its reference promises `standard` instead; clients are built for the error).
 */
export async function describeInstanceCreditSpecifications(
  context: Context,
  input: DescribeInstanceCreditSpecificationsRequest,
): Promise<DescribeInstanceCreditSpecificationsResult> {
  const ids = input.InstanceIds ?? []
  refuseIdsWithMaxResults(ids, input.MaxResults, 'instancesSet')
  const matches = compileFilters(input.Filters, FIELDS)
  const rows = ids.length > 0 ? await requireBurstable(context, ids) : await unlimitedInstances(context)
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, max: 1000, operation: OPERATION,
    keyOf: (row) => timeKey(row.created_ms, row.instance_id),
  })
  return {
    InstanceCreditSpecifications: page.map((row) => ({ InstanceId: row.instance_id, CpuCredits: creditsOf(row) })),
    NextToken: nextToken,
  }
}

const FIELDS: FilterFields<InstanceTable> = { 'instance-id': (row) => row.instance_id }

/** A type without credits keeps what an earlier one was set to. */
function creditsOf(row: InstanceTable): string {
  return cpuCreditsOf(row) ?? instanceDoc(row).options.cpuCredits ?? 'standard'
}

async function requireBurstable(context: Context, ids: readonly string[]): Promise<InstanceTable[]> {
  const rows = await requireInstances(context, ids)
  const other = rows.find((row) => !isBurstable(row.instance_type))
  if (other) throw new ApiError('InstanceCreditSpecification.NotSupported', creditsNotSupported(other.instance_type))
  return rows
}

async function unlimitedInstances({ db, account }: Context): Promise<InstanceTable[]> {
  const rows = await db.selectFrom('instances').selectAll().where('account_id', '=', account).execute()
  return rows.filter((row) => creditsOf(row) === 'unlimited')
}

/**
 * ModifyInstanceCreditSpecification: each instance by itself; what fails is told, and stops nothing
 * else. Doing it twice is doing it once, so that a ClientToken has nothing to add.
 */
export async function modifyInstanceCreditSpecification(
  context: Context,
  input: ModifyInstanceCreditSpecificationRequest,
): Promise<ModifyInstanceCreditSpecificationResult> {
  const requests = input.InstanceCreditSpecifications ?? []
  if (requests.length === 0) throw missingParameter('InstanceCreditSpecification')
  const successful = []
  const unsuccessful = []
  for (const request of requests) {
    const failure = await modifyOne(context, request)
    if (failure) unsuccessful.push({ InstanceId: request.InstanceId, Error: failure })
    else successful.push({ InstanceId: request.InstanceId })
  }
  return {
    SuccessfulInstanceCreditSpecifications: successful,
    UnsuccessfulInstanceCreditSpecifications: unsuccessful,
  }
}

interface Failure {
  Code: UnsuccessfulInstanceCreditSpecificationErrorCode
  Message: string
}

/** Why one instance could not be changed; undefined when it was. */
async function modifyOne(
  { db, account }: Context,
  request: InstanceCreditSpecificationRequest,
): Promise<Failure | undefined> {
  const id = request.InstanceId ?? ''
  const cpuCredits = checkEnum('CpuCredits', request.CpuCredits, ['standard', 'unlimited'])
  if (cpuCredits === undefined) throw missingParameter('CpuCredits')
  if (!isWellFormedId('i', id)) return { Code: 'InvalidInstanceID.Malformed', Message: `Invalid id: "${id}"` }
  const row = await db
    .selectFrom('instances').selectAll().where('account_id', '=', account).where('instance_id', '=', id)
    .executeTakeFirst()
  if (!row) return { Code: 'InvalidInstanceID.NotFound', Message: notFoundError(RESOURCE_KINDS.instance, [id]).message }
  if (!isBurstable(row.instance_type)) {
    return { Code: 'InstanceCreditSpecification.NotSupported', Message: creditsNotSupported(row.instance_type) }
  }
  if (row.state !== 'running' && row.state !== 'stopped') {
    return { Code: 'IncorrectInstanceState', Message: `The instance '${id}' is not in the 'running' or 'stopped' states.` }
  }
  await changeInstanceOptions(db, id, { cpuCredits })
  return undefined
}
