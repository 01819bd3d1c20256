import type {
  AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult, DescribeRegionsRequest,
  DescribeRegionsResult, Region,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { zoneIdOf, zoneStates, type ZoneStatus } from '../model/zone.ts'
import type { Context } from './context.ts'
import { compileFilters, withoutValue, type FilterFields } from './filters.ts'

/**
 * DescribeAvailabilityZones: the zones of the region, with what `hearth zone` has done to them. AllAvailabilityZones would
 * add zones that one has to opt in to, of which there are none.
 */
export async function describeAvailabilityZones(
  { db, region, zones: names }: Context,
  input: DescribeAvailabilityZonesRequest,
): Promise<DescribeAvailabilityZonesResult> {
  const matches = compileFilters(input.Filters, ZONE_FIELDS)
  const states = await zoneStates(db)
  const zones = names.map((zone) => zoneToWire(region, zone, states.get(zone)))
  const askedNames = input.ZoneNames ?? []
  const ids = input.ZoneIds ?? []
  requireKnown('Invalid availability zone', askedNames, zones.map((zone) => zone.ZoneName))
  requireKnown('Invalid availability zone-id', ids, zones.map((zone) => zone.ZoneId))
  const isAskedFor = (zone: AvailabilityZone) =>
    (askedNames.length === 0 || askedNames.includes(zone.ZoneName ?? '')) && (ids.length === 0 || ids.includes(zone.ZoneId ?? ''))
  return { AvailabilityZones: zones.filter((zone) => isAskedFor(zone) && matches(zone)) }
}

function zoneToWire(region: string, zone: string, status: ZoneStatus | undefined): AvailabilityZone {
  const message = status?.message ?? null
  return {
    // All Availability Zones of a region are of one group: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html
    GroupName: `${region}-zg-1`,
    Messages: message === null ? [] : [{ Message: message }],
    NetworkBorderGroup: region,
    OptInStatus: 'opt-in-not-required',
    RegionName: region,
    State: status?.state ?? 'available',
    ZoneId: zoneIdOf(zone),
    ZoneName: zone,
    ZoneType: 'availability-zone',
  }
}

const ZONE_FIELDS: FilterFields<AvailabilityZone> = {
  'group-name': (zone) => zone.GroupName,
  message: (zone) => zone.Messages?.map((each) => each.Message),
  'opt-in-status': (zone) => zone.OptInStatus,
  'region-name': (zone) => zone.RegionName,
  state: (zone) => zone.State,
  'zone-id': (zone) => zone.ZoneId,
  'zone-name': (zone) => zone.ZoneName,
  'zone-type': (zone) => zone.ZoneType,
  ...withoutValue('group-long-name', 'parent-zone-id', 'parent-zone-name'),
}

/**
 * DescribeRegions: the regions that run here. AllRegions would add regions that the account has
 * not opted in to, of which there are none.
 */
export async function describeRegions(
  { regions: names }: Context,
  input: DescribeRegionsRequest,
): Promise<DescribeRegionsResult> {
  const matches = compileFilters(input.Filters, REGION_FIELDS)
  const asked = input.RegionNames ?? []
  requireKnown('Invalid region provided', asked, names)
  const regions = names.filter((name) => asked.length === 0 || asked.includes(name)).map((name): Region => (
    { Endpoint: `ec2.${name}.amazonaws.com`, OptInStatus: 'opt-in-not-required', RegionName: name }))
  return { Regions: regions.filter(matches) }
}

const REGION_FIELDS: FilterFields<Region> = {
  endpoint: (region) => region.Endpoint,
  'opt-in-status': (region) => region.OptInStatus,
  'region-name': (region) => region.RegionName,
}

function requireKnown(message: string, asked: readonly string[], known: readonly (string | undefined)[]): void {
  const unknown = asked.filter((each) => !known.includes(each))
  if (unknown.length > 0) throw new ApiError('InvalidParameterValue', `${message}: [${unknown.join(', ')}]`)
}
