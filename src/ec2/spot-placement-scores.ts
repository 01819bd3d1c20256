import type { GetSpotPlacementScoresRequest, GetSpotPlacementScoresResult, SpotPlacementScore } from '@aws-sdk/client-ec2'
import { memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { ARCHITECTURES } from '../model/image.ts'
import { KNOWN_REGIONS } from '../model/region.ts'
import { zoneIdOf } from '../model/zone.ts'
import { unitsOf, WHOLE_PPM } from '../spot/clearing.ts'
import type { Context } from './context.ts'
import { typesWith } from './instance-requirements.ts'
import type { PrepareAmbient } from './operation.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'
import { isOnSpot } from './spot-price-history.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { loadSpotSupplies, spotRoom, type ZoneSupply } from './spot-supply.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetSpotPlacementScores.html */
const MOST_CAPACITY = 2_000_000_000
const MOST_TYPES = 1000
const MOST_REGIONS = 10
/** An answer has the highest: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetSpotPlacementScores.html */
const MOST_SCORES = 10
/** With fewer types EC2's score is always low: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html */
const FEW_TYPES = 3
const LOW_SCORE = 3

interface SizedType {
  name: string
  vcpus: number
  memoryMib: number
  /** How much of the target one instance is. */
  weight: number
}

/** What a zone, or all of a region together, has for a target. */
interface Outlook {
  /** Part of the target that has room, at most 1. */
  fit: number
  /** Part of the supply that is free once the target has its place. */
  spare: number
  /** The lowest price of the types, as part of the price on demand. */
  price: number
}

/** For regions beside the one that is called: the scores that their own markets give. */
export async function prepareSpotPlacementScores(
  input: GetSpotPlacementScoresRequest,
  { region, regions, nowMs, elsewhere }: PrepareAmbient,
): Promise<SpotPlacementScore[]> {
  const { names, ...wish } = requested(input, regions)
  const scores: SpotPlacementScore[] = []
  for (const name of names.filter((each) => each !== region)) {
    scores.push(...await elsewhere(name)?.read((db) => scoresIn({ db, region: name, nowMs }, wish)) ?? [])
  }
  return scores
}

/**
 * GetSpotPlacementScores, of the markets of this cloud's regions, the highest ten: 1 to 4 by how much of the target has room where not all
 * has; else 5, up to 3 more by what part of the supply stays free, and up to 2 more by how far the price is below that on demand. At most
 * 3 with fewer than three types. Of all regions, unless some are named.
 *
 * @throws ApiError MissingParameter, InvalidParameterValue, InvalidParameterCombination.
 */
export async function getSpotPlacementScores(
  context: Context,
  input: GetSpotPlacementScoresRequest,
  elsewhere: readonly SpotPlacementScore[],
): Promise<GetSpotPlacementScoresResult> {
  const { names, ...wish } = requested(input, context.regions)
  const here = names.includes(context.region) ? await scoresIn(context, wish) : []
  // All on one page, which has at least as many.
  const { page, nextToken } = paginate(highest([...here, ...elsewhere]), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: MOST_SCORES, max: 1000, operation: 'GetSpotPlacementScores', keyOf,
  })
  return { SpotPlacementScores: page, NextToken: nextToken }
}

function highest(scores: readonly SpotPlacementScore[]): SpotPlacementScore[] {
  return scores.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)).slice(0, MOST_SCORES)
}

function keyOf({ Score: score = 0, Region: name = '', AvailabilityZoneId: zoneId = '' }: SpotPlacementScore): string {
  return timeKey(10 - score, name, zoneId)
}

/** What is looked for. */
interface Wish {
  types: readonly SizedType[]
  target: number
  ofZones: boolean
}

/** @throws ApiError what `getSpotPlacementScores` throws. */
function requested(input: GetSpotPlacementScoresRequest, regions: readonly string[]): Wish & { names: readonly string[] } {
  const named = input.RegionNames ?? []
  checkRegions(regions, named)
  return {
    names: named.length > 0 ? [...new Set(named)] : regions, target: requestedTarget(input), types: requestedTypes(input),
    ofZones: input.SingleAvailabilityZone === true,
  }
}

/** The scores of a region, or of each of its zones. */
async function scoresIn({ db, region, nowMs }: Pick<Context, 'db' | 'region' | 'nowMs'>, { types, target, ofZones }: Wish): Promise<SpotPlacementScore[]> {
  const supplies = await loadSpotSupplies(db, region)
  const prices = await loadSpotPrices(db, region, nowMs)
  const outlooks = [...supplies.values()].map((supply) => ({ supply, outlook: outlookOf(supply, types, target, (type) => prices.pricePpm(type, supply.zone)) }))
  const most = types.length < FEW_TYPES ? LOW_SCORE : 10
  return ofZones
    ? outlooks.map(({ supply, outlook }) => ({ Region: region, AvailabilityZoneId: zoneIdOf(supply.zone), Score: Math.min(most, scoreOf(outlook)) }))
    : [{ Region: region, Score: Math.min(most, scoreOf(together(outlooks.map(({ outlook }) => outlook)))) }]
}

/** By the type of which the zone has room for most of the target. */
function outlookOf(supply: ZoneSupply, types: readonly SizedType[], target: number, pricePpm: (type: string) => number | undefined): Outlook {
  const prices = types.map(({ name }) => pricePpm(name) ?? WHOLE_PPM)
  const best = types.map((type) => ({ type, room: spotRoom(supply, type) * type.weight })).toSorted((a, b) => b.room - a.room)[0]
  const price = Math.min(WHOLE_PPM, ...prices) / WHOLE_PPM
  if (!best || best.room === 0 || supply.supplyUnits <= 0) return { fit: 0, spare: 0, price }
  const takenUnits = Math.ceil(target / best.type.weight) * unitsOf(best.type, supply)
  const spare = (supply.supplyUnits - supply.heldUnits - takenUnits) / supply.supplyUnits
  return { fit: Math.min(1, best.room / target), spare: Math.max(0, spare), price }
}

/** A region's instances may be in all of its zones. */
function together(outlooks: readonly Outlook[]): Outlook {
  return {
    fit: Math.min(1, outlooks.reduce((sum, { fit }) => sum + fit, 0)),
    spare: Math.max(0, ...outlooks.map(({ spare }) => spare)),
    price: Math.min(1, ...outlooks.map(({ price }) => price)),
  }
}

function scoreOf({ fit, spare, price }: Outlook): number {
  if (fit < 1) return 1 + Math.floor(4 * fit)
  return Math.max(1, Math.min(10, Math.round(5 + 3 * spare + 2 * (1 - price))))
}

function checkRegions(regions: readonly string[], names: readonly string[]): void {
  if (names.length > MOST_REGIONS) throw invalidValue('RegionName', names.length, `At most ${MOST_REGIONS} Regions can be named.`)
  for (const name of names) {
    if (!regions.includes(name)) throw invalidValue('RegionName', name, KNOWN_REGIONS.includes(name) ? 'This cloud does not have that Region.' : '')
  }
}

function requestedTarget({ TargetCapacity: target }: GetSpotPlacementScoresRequest): number {
  if (target === undefined) throw missingParameter('TargetCapacity')
  if (!(Number.isInteger(target) && target >= 1 && target <= MOST_CAPACITY)) {
    throw invalidValue('TargetCapacity', target, `Expecting a whole number from 1 to ${MOST_CAPACITY}.`)
  }
  return target
}

/** Types by name or by their attributes; those that are not had on spot count for nothing. */
function requestedTypes(input: GetSpotPlacementScoresRequest): SizedType[] {
  const unit = checkEnum('TargetCapacityUnitType', input.TargetCapacityUnitType, ['vcpu', 'memory-mib', 'units']) ?? 'units'
  const { InstanceTypes: named = [], InstanceRequirementsWithMetadata: wanted } = input
  if (named.length > 0 && wanted) {
    throw new ApiError('InvalidParameterCombination', 'InstanceTypes and InstanceRequirementsWithMetadata cannot be specified together.')
  }
  if (named.length === 0 && !wanted) throw missingParameter('InstanceType')
  if (named.length > MOST_TYPES) throw invalidValue('InstanceType', named.length, `At most ${MOST_TYPES} instance types can be named.`)
  for (const name of named) if (vcpusOf(name) === undefined) throw invalidValue('InstanceType', name)
  if (wanted && !wanted.InstanceRequirements) throw missingParameter('InstanceRequirementsWithMetadata.InstanceRequirements')
  const { ArchitectureTypes: architectures = [], VirtualizationTypes: virtualizations = [] } = wanted ?? {}
  for (const each of architectures) checkEnum('ArchitectureType', each, [...ARCHITECTURES, 'x86_64_mac', 'arm64_mac'])
  for (const each of virtualizations) checkEnum('VirtualizationType', each, ['hvm', 'paravirtual'])
  const names = wanted?.InstanceRequirements ? typesWith(wanted.InstanceRequirements, {
    architectures: architectures.length > 0 ? architectures : ARCHITECTURES, virtualizations: virtualizations.length > 0 ? virtualizations : ['hvm'],
  }) : [...new Set(named)]
  return names.filter(isOnSpot).map((name) => {
    const [vcpus = 1, memoryMib = 1] = [vcpusOf(name), memoryMibOf(name)]
    return { name, vcpus, memoryMib, weight: { vcpu: vcpus, 'memory-mib': memoryMib, units: 1 }[unit] }
  })
}
