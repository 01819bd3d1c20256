import type { ModifyInstancePlacementRequest, ModifyInstancePlacementResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { dedicatedHostDoc } from '../model/dedicated-host.ts'
import { familyOf } from '../model/dedicated-host-types.ts'
import { changeInstanceDoc, instanceDoc, placementWish } from '../model/instance.ts'
import type { PlacementWish } from '../model/placement.ts'
import type { DedicatedHostTable, InstanceTable, PlacementGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requireLivingInstance, requireStopped } from './instance-rows.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { findPlacementGroup } from './placement-group-rows.ts'
import { notOnDedicatedHost } from './spot-offer.ts'
import { checkPlacement, findDedicatedHost, isDedicatedVpc, requireDedicatedHost } from './requested-placement.ts'

/**
 * ModifyInstancePlacement: what the next start of an instance goes by. An empty GroupName takes it out of its group.
 *
 * @throws ApiError MissingParameter; IncorrectInstanceState, since all but the affinity wants a stopped instance;
 *   InvalidRequest and InvalidTenancy for tenancies that it cannot have; InvalidHostConfiguration for a dedicated host that is not
 *   for its type; InvalidPlacementGroup.Unknown and what else a launch with such a placement is refused with.
 */
export async function modifyInstancePlacement(
  context: Context,
  input: ModifyInstancePlacementRequest,
): Promise<ModifyInstancePlacementResult> {
  if (input.HostResourceGroupArn) throw unsupportedParameter('HostResourceGroupArn')
  const row = await requireLivingInstance(context, input.InstanceId)
  const { Affinity: affinity, GroupName: groupName, GroupId: groupId, HostId: hostId, PartitionNumber: partition, Tenancy: tenancy } = input
  const moves = groupName !== undefined || groupId || hostId || partition !== undefined || tenancy
  if (!moves && !affinity) throw missingParameter('Affinity, GroupName, HostId, PartitionNumber or Tenancy')
  if (moves) requireStopped(row)
  const before = placementWish(instanceDoc(row))
  const group = await groupAfter(context, before, input)
  const wish = await withoutReleasedHost(context, changedWish(row, before, input, group), input)
  if (tenancy === 'default' && row.vpc_id !== null && (await isDedicatedVpc(context, row.vpc_id))) {
    throw new ApiError('InvalidTenancy', `The tenancy of an instance in '${row.vpc_id}' cannot be 'default': that of the VPC is 'dedicated'.`)
  }
  if (row.lifecycle === 'spot' && wish.tenancy === 'host') throw notOnDedicatedHost()
  checkPlacement(wish, group, row.instance_type)
  if (hostId) checkHost(row, await requireDedicatedHost(context, hostId))
  const isSameGroup = wish.placementGroupId === before.placementGroupId
  await context.db
    .updateTable('instances')
    .set({
      tenancy: wish.tenancy, placement_group_id: wish.placementGroupId,
      partition_number: partition ?? (isSameGroup ? row.partition_number : null),
    })
    .where('instance_id', '=', row.instance_id).execute()
  await changeInstanceDoc(context.db, row.instance_id, { placement: wish })
  return { Return: true }
}

/** The group that the instance is to be in. */
async function groupAfter(
  context: Context,
  before: PlacementWish,
  { GroupName: name, GroupId: id }: ModifyInstancePlacementRequest,
): Promise<PlacementGroupTable | null> {
  if (name || id) return findPlacementGroup(context, { GroupName: name, GroupId: id })
  if (name === '' || before.placementGroupId === null) return null
  // The group of a restored instance may have been deleted.
  return findPlacementGroup(context, { GroupId: before.placementGroupId })
}

function changedWish(
  row: InstanceTable,
  before: PlacementWish,
  input: ModifyInstancePlacementRequest,
  group: PlacementGroupTable | null,
): PlacementWish {
  const tenancy = checkEnum('tenancy', input.Tenancy, ['default', 'dedicated', 'host']) ?? before.tenancy
  checkTenancyChange(row, before.tenancy, tenancy)
  const asked = checkEnum('affinity', input.Affinity, ['default', 'host'])
  if (asked !== undefined && tenancy !== 'host') {
    throw new ApiError('InvalidParameterCombination', "The parameter affinity cannot be used without specifying a tenancy of 'host'")
  }
  const placementGroupId = group?.group_id ?? null
  const isSameGroup = placementGroupId === before.placementGroupId
  const isOnHosts = tenancy === 'host'
  return {
    ...before, tenancy, placementGroupId,
    partitionNumber: input.PartitionNumber ?? (isSameGroup ? before.partitionNumber : null),
    affinity: isOnHosts ? (asked ?? before.affinity) : 'default',
    // From now on it stays where it is; one that is stopped stays where it is started next.
    dedicatedHostId: input.HostId || (isOnHosts ? (row.dedicated_host_id ?? before.dedicatedHostId) : null),
    isHostNamed: isOnHosts && (Boolean(input.HostId) || before.isHostNamed === true),
  }
}

/** A host that is not named now, and has been released since it was, is none to stay on. */
async function withoutReleasedHost(context: Context, wish: PlacementWish, { HostId: named }: ModifyInstancePlacementRequest): Promise<PlacementWish> {
  if (named || wish.dedicatedHostId === null || (await findDedicatedHost(context, wish.dedicatedHostId))) return wish
  return { ...wish, dedicatedHostId: null, isHostNamed: false }
}

/** Checks that a dedicated host is where the instance is, and for its type. */
function checkHost(row: InstanceTable, host: DedicatedHostTable): void {
  const { instanceType, instanceFamily } = dedicatedHostDoc(host)
  if (host.zone !== row.zone) {
    throw invalidValue('hostId', host.dedicated_host_id, `It is in ${host.zone}, and the instance '${row.instance_id}' in ${row.zone}.`)
  }
  if (instanceType === null ? familyOf(row.instance_type) === instanceFamily : instanceType === row.instance_type) return
  throw new ApiError(
    'InvalidHostConfiguration', `Dedicated host '${host.dedicated_host_id}' does not support the instance type '${row.instance_type}'.`,
  )
}

/**
 * A T3 instance is on dedicated hosts from its launch on, or never:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstancePlacement.html
 */
function checkTenancyChange(row: InstanceTable, from: PlacementWish['tenancy'], to: PlacementWish['tenancy']): void {
  if ((from === 'host') === (to === 'host') || familyOf(row.instance_type) !== 't3') return
  throw new ApiError('InvalidRequest', `The tenancy of a ${row.instance_type} instance cannot be changed from '${from}' to '${to}'.`)
}
