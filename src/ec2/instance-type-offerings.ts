import type {
  DescribeInstanceTypeOfferingsRequest, DescribeInstanceTypeOfferingsResult, InstanceTypeOffering, _InstanceType,
} from '@aws-sdk/client-ec2'
import { instanceTypeNames } from '../catalogue/instance-types.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate } from './pagination.ts'
import { checkEnum } from './parameters.ts'

/** A page is never larger, whether MaxResults is given or not. */
const PAGE_SIZE = 1000

/** DescribeInstanceTypeOfferings, by type and location: every type of the catalogue, in every zone. */
export async function describeInstanceTypeOfferings(
  context: Context,
  input: DescribeInstanceTypeOfferingsRequest,
): Promise<DescribeInstanceTypeOfferingsResult> {
  const locationType =
    checkEnum('LocationType', input.LocationType, ['region', 'availability-zone', 'availability-zone-id', 'outpost']) ?? 'region'
  const matches = compileFilters(input.Filters, FIELDS)
  const locations = locationsOf(context, locationType)
  const offerings = instanceTypeNames().flatMap((name) =>
    locations.map((location): InstanceTypeOffering => ({
      InstanceType: name as _InstanceType, Location: location, LocationType: locationType,
    })))
  const { page, nextToken } = paginate(offerings.filter(matches), {
    maxResults: input.MaxResults ?? PAGE_SIZE, nextToken: input.NextToken, max: PAGE_SIZE,
    operation: 'DescribeInstanceTypeOfferings', keyOf: (each) => `${each.InstanceType}/${each.Location}`,
  })
  return { InstanceTypeOfferings: page, NextToken: nextToken }
}

function locationsOf({ region, zones }: Context, locationType: 'region' | 'availability-zone' | 'availability-zone-id' | 'outpost'): string[] {
  switch (locationType) {
    case 'region':
      return [region]
    case 'availability-zone':
      return [...zones]
    case 'availability-zone-id':
      return zones.map(zoneIdOf)
    case 'outpost':
      // There are none.
      return []
  }
}

const FIELDS: FilterFields<InstanceTypeOffering> = {
  'instance-type': (each) => each.InstanceType,
  location: (each) => each.Location,
}
