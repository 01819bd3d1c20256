import { sql } from 'kysely'
import { ApiError } from '../core/errors.ts'
import type { SecurityGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/**
 * The group that a call names: by id, or by name in the default VPC; both must mean the same.
 *
 * @throws ApiError MissingParameter, InvalidGroupId.Malformed, InvalidGroup.NotFound, VPCIdNotSpecified.
 */
export async function findGroup(
  context: Context,
  input: { GroupId?: string | undefined; GroupName?: string | undefined },
): Promise<SecurityGroupTable> {
  const { GroupId: id, GroupName: name } = input
  if (id) {
    const group = await groupById(context, id)
    if (name && group.name !== name) {
      throw new ApiError(
        'InvalidParameterValue',
        `The security group '${id}' is not called '${name}'; leave GroupName out.`,
      )
    }
    return group
  }
  if (!name) throw missingParameter('groupName or groupId')
  const vpcId = await requireDefaultVpc(context)
  const group = await groupByName(context, vpcId, name)
  if (group) return group
  throw new ApiError('InvalidGroup.NotFound', `The security group '${name}' does not exist in default VPC '${vpcId}'`)
}

/** @throws ApiError InvalidGroupId.Malformed, InvalidGroup.NotFound. */
export async function groupById({ db, account }: Context, id: string): Promise<SecurityGroupTable> {
  checkIds(RESOURCE_KINDS.securityGroup, [id])
  const group = await db
    .selectFrom('security_groups').selectAll()
    .where('account_id', '=', account).where('group_id', '=', id)
    .executeTakeFirst()
  if (!group) throw notFoundError(RESOURCE_KINDS.securityGroup, [id])
  return group
}

/** The VPC's group of that name, in any case; undefined when there is none. */
export function groupByName(
  { db, account }: Context,
  vpcId: string,
  name: string,
): Promise<SecurityGroupTable | undefined> {
  return db
    .selectFrom('security_groups').selectAll()
    .where('account_id', '=', account).where('vpc_id', '=', vpcId).where('name_key', '=', name.toLowerCase())
    .executeTakeFirst()
}

/**
 * Id of the account's default VPC, where security groups go by name.
 *
 * @throws ApiError VPCIdNotSpecified when the account has none.
 */
export async function requireDefaultVpc({ db, account }: Pick<Context, 'db' | 'account'>): Promise<string> {
  const vpc = await db
    .selectFrom('vpcs').select('vpc_id')
    .where('account_id', '=', account).where('is_default', '=', sql.lit(1))
    .executeTakeFirst()
  if (vpc) return vpc.vpc_id
  throw new ApiError(
    'VPCIdNotSpecified',
    'No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.',
  )
}

/** Whether it is the default VPC of its account, where some calls are more lenient. */
export async function isDefaultVpc({ db }: Pick<Context, 'db'>, vpcId: string): Promise<boolean> {
  const vpc = await db
    .selectFrom('vpcs').select('vpc_id').where('vpc_id', '=', vpcId).where('is_default', '=', sql.lit(1)).executeTakeFirst()
  return vpc !== undefined
}

/** Has every host on which the VPC has something put it in force anew, whatever of it has changed. */
export async function wakeVpc(db: Db, vpcId: string, nowMs: number): Promise<void> {
  await wakeHosts(db, 'vpc', vpcId, nowMs)
}

/** Has every host on which the group's VPC has something put the group's rules in force. */
export async function wakeGroup(db: Db, group: { group_id: string; vpc_id: string }, nowMs: number): Promise<void> {
  await db
    .updateTable('security_groups').set((eb) => ({ revision: eb('revision', '+', 1) }))
    .where('group_id', '=', group.group_id).execute()
  await wakeHosts(db, 'ports', group.vpc_id, nowMs)
}

async function wakeHosts(db: Db, kind: 'vpc' | 'ports', vpcId: string, nowMs: number): Promise<void> {
  const hosts = await db
    .selectFrom('interfaces').select('host_id').distinct()
    .where('vpc_id', '=', vpcId).where('wanted', '=', 1)
    .execute()
  for (const { host_id: hostId } of hosts) {
    if (hostId !== null) await enqueue(db, { kind, id: vpcId, hostId }, nowMs)
  }
}
