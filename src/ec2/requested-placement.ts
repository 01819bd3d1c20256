import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { ANYWHERE, type PlacementWish, type ReservationWish } from '../model/placement.ts'
import { vpcDoc } from '../model/vpc-wire.ts'
import { prepared } from '../store/prepared.ts'
import type { DedicatedHostTable, PlacementGroupTable, SubnetTable } from '../store/schema.ts'
import { requireReservation } from './capacity-reservation-rows.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, refuseParameters, unsupportedParameter } from './parameters.ts'
import { findPlacementGroup } from './placement-group-rows.ts'
import { checkIds, RESOURCE_KINDS } from './resources.ts'

/**
 * What a launch asks of the place of its instances.
 *
 * @throws ApiError InvalidPlacementGroup.Unknown, InvalidHostID.NotFound, InvalidCapacityReservationId.NotFound,
 *   InvalidParameterCombination for what cannot be had together, UnsupportedOperation for what Hearth does not honour.
 */
export async function requestedPlacement(
  context: Context,
  { Placement: placement = {}, CapacityReservationSpecification: reservation }: Pick<RunInstancesRequest, 'Placement' | 'CapacityReservationSpecification'>,
  { typeName, subnet }: { typeName: string; subnet: SubnetTable },
): Promise<PlacementWish> {
  if (placement.HostResourceGroupArn) throw unsupportedParameter('Placement.HostResourceGroupArn')
  if (placement.SpreadDomain) throw unsupportedParameter('Placement.SpreadDomain')
  const asked = checkEnum('Placement.Tenancy', placement.Tenancy, ['default', 'dedicated', 'host']) ?? 'default'
  const tenancy = asked === 'default' && (await isOfDedicatedVpc(context, subnet)) ? 'dedicated' : asked
  const group = await findPlacementGroup(context, placement)
  const wish: PlacementWish = {
    tenancy,
    placementGroupId: group?.group_id ?? null,
    partitionNumber: placement.PartitionNumber ?? null,
    dedicatedHostId: placement.HostId || null,
    affinity: checkAffinity(placement.Affinity, tenancy),
    reservation: await requestedReservation(context, reservation, tenancy),
  }
  checkPlacement(wish, group, typeName)
  if (wish.dedicatedHostId !== null) await requireDedicatedHost(context, wish.dedicatedHostId)
  return isAnywhere(wish) ? ANYWHERE : wish
}

const vpcsById = prepared((db, vpcId: string) => db.selectFrom('vpcs').select('doc').where('vpc_id', '=', vpcId))

/** Whether all instances in the subnet's VPC are to be dedicated; the default VPC, whose default subnets most are in, cannot be so. */
async function isOfDedicatedVpc(context: Context, subnet: SubnetTable): Promise<boolean> {
  return subnet.default_for_az !== 1 && isDedicatedVpc(context, subnet.vpc_id)
}

/** Whether all instances of a VPC are to be dedicated. */
export async function isDedicatedVpc({ db }: Pick<Context, 'db'>, vpcId: string): Promise<boolean> {
  const [vpc] = await vpcsById(db, vpcId)
  return vpc !== undefined && vpcDoc(vpc).instanceTenancy === 'dedicated'
}

function isAnywhere({ reservation, ...wish }: PlacementWish): boolean {
  return wish.tenancy === 'default' && wish.placementGroupId === null && wish.partitionNumber === null
    && wish.dedicatedHostId === null && reservation.preference === 'open' && reservation.targetId === null
}

function checkAffinity(affinity: string | undefined, tenancy: PlacementWish['tenancy']): PlacementWish['affinity'] {
  if (affinity && tenancy !== 'host') throw onlyOnDedicatedHosts('affinity')
  return checkEnum('Placement.Affinity', affinity, ['default', 'host']) ?? 'default'
}

function onlyOnDedicatedHosts(parameter: string): ApiError {
  return new ApiError('InvalidParameterCombination', `The parameter ${parameter} cannot be used without specifying a tenancy of 'host'`)
}

/**
 * Checks a wish as a whole, but for whether its dedicated host is there.
 *
 * @throws ApiError InvalidParameterCombination, InvalidParameterValue.
 */
export function checkPlacement(
  { tenancy, dedicatedHostId, partitionNumber }: PlacementWish,
  group: PlacementGroupTable | null,
  typeName: string,
): void {
  if (dedicatedHostId !== null && tenancy !== 'host') throw onlyOnDedicatedHosts('hostId')
  if (partitionNumber !== null) checkPartition(partitionNumber, group)
  if (group !== null) checkGroup(group, tenancy, typeName)
}

/**
 * Checks that instances of a tenancy and a type may be in a group:
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/limitations-placement-groups.html
 *
 * @throws ApiError InvalidParameterCombination.
 */
export function checkGroup(group: PlacementGroupTable, tenancy: PlacementWish['tenancy'], typeName: string): void {
  if (tenancy === 'host' || (tenancy === 'dedicated' && group.strategy === 'spread')) {
    const kind = tenancy === 'host' ? 'placement group' : 'spread placement group'
    throw new ApiError(
      'InvalidParameterCombination',
      `You cannot launch an instance with a tenancy of '${tenancy}' into a ${kind}. Either remove the placement group from the request, ` +
        'or specify a different tenancy.',
    )
  }
  const strategies = instanceType(typeName)?.PlacementGroupInfo?.SupportedStrategies ?? []
  if (strategies.some((each) => each === group.strategy)) return
  const strategy = group.strategy.charAt(0).toUpperCase() + group.strategy.slice(1)
  throw new ApiError(
    'InvalidParameterCombination',
    `${strategy} placement groups are not supported by the '${typeName}' instance type. Specify a supported instance type or change the ` +
      'placement group strategy, and try again.',
  )
}

function checkPartition(partitionNumber: number, group: PlacementGroupTable | null): void {
  if (group?.strategy !== 'partition') {
    throw new ApiError(
      'InvalidParameterCombination', "The parameter PartitionNumber can only be used with a placement group whose strategy is 'partition'.",
    )
  }
  if (partitionNumber >= 1 && partitionNumber <= group.partition_count) return
  throw invalidValue('PartitionNumber', partitionNumber, `The placement group '${group.name}' has partitions 1 to ${group.partition_count}.`)
}

/** The account's dedicated host of that id; undefined where it has been released. */
export function findDedicatedHost({ db, account }: Context, dedicatedHostId: string): Promise<DedicatedHostTable | undefined> {
  return db
    .selectFrom('dedicated_hosts').selectAll()
    .where('dedicated_host_id', '=', dedicatedHostId).where('account_id', '=', account).where('state', '=', 'available')
    .executeTakeFirst()
}

/** The same. @throws ApiError InvalidHostID.Malformed, InvalidHostID.NotFound. */
export async function requireDedicatedHost(context: Context, dedicatedHostId: string): Promise<DedicatedHostTable> {
  checkIds(RESOURCE_KINDS.dedicatedHost, [dedicatedHostId])
  const found = await findDedicatedHost(context, dedicatedHostId)
  if (found) return found
  throw new ApiError('InvalidHostID.NotFound', `The host ID '${dedicatedHostId}' does not exist`)
}

/**
 * Which reservations a call says may be used. It says so by a preference or by a target; beside that only a preference for nothing
 * but reservations says the same (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CapacityReservationSpecification.html).
 *
 * @throws ApiError InvalidParameterCombination, what `requireReservation` throws, UnsupportedOperation for resource groups.
 */
export async function requestedReservation(
  context: Context,
  asked: RunInstancesRequest['CapacityReservationSpecification'],
  tenancy: PlacementWish['tenancy'],
): Promise<ReservationWish> {
  const target = asked?.CapacityReservationTarget ?? {}
  const name = 'CapacityReservationSpecification.CapacityReservationPreference'
  const preference = checkEnum(name, asked?.CapacityReservationPreference, ['open', 'none', 'capacity-reservations-only'])
  refuseParameters(target, ['CapacityReservationResourceGroupArn'])
  const targetId = target.CapacityReservationId || null
  if (targetId !== null && preference !== undefined && preference !== 'capacity-reservations-only') {
    throw new ApiError(
      'InvalidParameterCombination',
      "The parameters CapacityReservationPreference and CapacityReservationTarget can be used together only with the preference 'capacity-reservations-only'.",
    )
  }
  if (tenancy === 'host' && (targetId !== null || preference === 'capacity-reservations-only')) {
    throw new ApiError('InvalidParameterCombination', "Capacity Reservations cannot be used with a tenancy of 'host'.")
  }
  if (targetId !== null) await requireReservation(context, targetId)
  return { preference: preference ?? 'open', targetId }
}
