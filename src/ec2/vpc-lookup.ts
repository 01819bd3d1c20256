import { ApiError } from '../core/errors.ts'
import type { VpcCidrTable, VpcTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** @throws ApiError MissingParameter, InvalidVpcID.Malformed, InvalidVpcID.NotFound. */
export async function requireVpc({ db, account }: Context, vpcId: string | undefined): Promise<VpcTable> {
  if (!vpcId) throw missingParameter('vpcId')
  checkIds(RESOURCE_KINDS.vpc, [vpcId])
  const vpc = await db
    .selectFrom('vpcs').selectAll().where('account_id', '=', account).where('vpc_id', '=', vpcId).executeTakeFirst()
  if (!vpc) throw notFoundError(RESOURCE_KINDS.vpc, [vpcId])
  return vpc
}

/** Blocks of the VPC beside its primary one, oldest first. */
export function secondaryCidrsOf(db: Db, vpcId: string): Promise<VpcCidrTable[]> {
  return db
    .selectFrom('vpc_cidrs').selectAll().where('vpc_id', '=', vpcId).orderBy('created_ms').orderBy('association_id').execute()
}

/**
 * Has every host that has a network of the VPC, be it without ports, look at it: what is gone, or is
 * linked with others, concerns hosts where nothing of it runs at the moment as well.
 */
export async function wakeVpcEverywhere(db: Db, vpcId: string, nowMs: number): Promise<void> {
  const slots = await db
    .selectFrom('slots').select('host_id').where('kind', '=', 'vpc').where('owner_id', '=', vpcId).execute()
  const ports = await db
    .selectFrom('interfaces').select('host_id').distinct().where('vpc_id', '=', vpcId).where('wanted', '=', 1).execute()
  for (const hostId of new Set([...slots, ...ports].map((row) => row.host_id))) {
    if (hostId !== null) await enqueue(db, { kind: 'vpc', id: vpcId, hostId }, nowMs)
  }
}

/** Throws unless fewer than `max` are there already. */
export function checkQuota(count: number, max: number, code: string, message: string): void {
  if (count >= max) throw new ApiError(code, message)
}
