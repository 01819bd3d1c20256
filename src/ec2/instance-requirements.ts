import type {
  GetInstanceTypesFromInstanceRequirementsRequest, GetInstanceTypesFromInstanceRequirementsResult, InstanceRequirementsRequest,
  InstanceTypeInfo,
} from '@aws-sdk/client-ec2'
import { acceleratorsOf, makerName } from '../catalogue/accelerators.ts'
import { instanceType, instanceTypeNames, memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import { onDemandPrice } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import { ARCHITECTURES } from '../model/image.ts'
import type { Context } from './context.ts'
import { paginate } from './pagination.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'

/** How far above the lowest price a type may be, unless a call says otherwise; and what says "as far as you like". */
const DEFAULT_PRICE_PERCENTAGE = 20
const DEFAULT_SPOT_PRICE_PERCENTAGE = 100
const NO_PRICE_PROTECTION = 999_999
const PERCENTAGES = [
  'OnDemandMaxPricePercentageOverLowestPrice', 'SpotMaxPricePercentageOverLowestPrice', 'MaxSpotPriceAsPercentageOfOptimalOnDemandPrice',
] as const

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceRequirementsRequest.html */
const MAX_NAMES = 400

interface Range {
  Min?: number | undefined
  Max?: number | undefined
}

/** Of what an image makes: which types can boot it. */
export interface MachineKind {
  architectures: readonly string[]
  virtualizations: readonly string[]
}

/** GetInstanceTypesFromInstanceRequirements: the catalogue's types with those attributes, by name; prices do not count here. */
export async function getInstanceTypesFromInstanceRequirements(
  _context: Context,
  input: GetInstanceTypesFromInstanceRequirementsRequest,
): Promise<GetInstanceTypesFromInstanceRequirementsResult> {
  refuseParameters(input, ['Context'])
  const { ArchitectureTypes: architectures = [], VirtualizationTypes: virtualizations = [], InstanceRequirements: requirements } = input
  if (architectures.length === 0) throw missingParameter('ArchitectureType')
  if (virtualizations.length === 0) throw missingParameter('VirtualizationType')
  if (!requirements) throw missingParameter('InstanceRequirements')
  for (const each of architectures) checkEnum('ArchitectureType', each, [...ARCHITECTURES, 'x86_64_mac', 'arm64_mac'])
  for (const each of virtualizations) checkEnum('VirtualizationType', each, ['hvm', 'paravirtual'])
  const names = typesWith(requirements, { architectures, virtualizations })
  const { page, nextToken } = paginate(names, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, keyOf: (name) => name,
    operation: 'GetInstanceTypesFromInstanceRequirements',
  })
  return { InstanceTypes: page.map((name) => ({ InstanceType: name })), NextToken: nextToken }
}

/** The types of the catalogue with the attributes asked for, by name. @throws ApiError as `checkRequirements`. */
export function typesWith(asked: InstanceRequirementsRequest, kind: MachineKind): string[] {
  checkRequirements(asked)
  return instanceTypeNames().filter((name) => {
    // What can be known of a type without reading all of it comes first.
    if (!within(vcpusOf(name), asked.VCpuCount) || !within(memoryMibOf(name), asked.MemoryMiB) || !isNamed(name, asked)) return false
    const info = instanceType(name)
    return info !== undefined && boots(info, kind) && isOfKind(info, asked) && hasParts(info, asked) && hasAccelerators(info, asked)
  })
}

/**
 * Checks attributes that a call asks for.
 *
 * @throws ApiError MissingParameter, InvalidParameterValue, InvalidParameterCombination; UnsupportedOperation for one that
 *   the catalogue does not have.
 */
export function checkRequirements(asked: InstanceRequirementsRequest): void {
  if (asked.VCpuCount?.Min === undefined) throw missingParameter('InstanceRequirements.VCpuCount.Min')
  if (asked.MemoryMiB?.Min === undefined) throw missingParameter('InstanceRequirements.MemoryMiB.Min')
  if (asked.BaselinePerformanceFactors) throw unsupportedParameter('InstanceRequirements.BaselinePerformanceFactors')
  for (const [name, value] of Object.entries(asked) as [string, unknown][]) {
    if (typeof value !== 'object' || value === null || !('Min' in value || 'Max' in value)) continue
    const { Min: min = 0, Max: max = Number.POSITIVE_INFINITY } = value as Range
    if (!(min >= 0 && min <= max)) throw invalidValue(`InstanceRequirements.${name}`, min, 'Min must not be greater than Max.')
  }
  for (const name of ['BareMetal', 'BurstablePerformance', 'LocalStorage'] as const) {
    checkEnum(`InstanceRequirements.${name}`, asked[name], ['included', 'excluded', 'required'])
  }
  const { AllowedInstanceTypes: allowed = [], ExcludedInstanceTypes: excluded = [] } = asked
  if (allowed.length > 0 && excluded.length > 0) {
    throw new ApiError('InvalidParameterCombination', 'AllowedInstanceTypes and ExcludedInstanceTypes cannot be specified together.')
  }
  if (Math.max(allowed.length, excluded.length) > MAX_NAMES) {
    throw invalidValue('InstanceRequirements', 'instance types', `At most ${MAX_NAMES} can be named.`)
  }
  for (const name of PERCENTAGES) {
    const percentage = asked[name] ?? 0
    if (!(percentage >= 0)) throw invalidValue(`InstanceRequirements.${name}`, percentage)
  }
  if (asked.SpotMaxPricePercentageOverLowestPrice !== undefined && asked.MaxSpotPriceAsPercentageOfOptimalOnDemandPrice !== undefined) {
    throw new ApiError(
      'InvalidParameterCombination',
      'SpotMaxPricePercentageOverLowestPrice and MaxSpotPriceAsPercentageOfOptimalOnDemandPrice cannot be specified together.',
    )
  }
}

function within(value: number | undefined, { Min: min = 0, Max: max = Number.POSITIVE_INFINITY }: Range = {}): boolean {
  return value !== undefined && value >= min && value <= max
}

/** Where nothing is asked of a number, a type does not need to have it. */
function withinAsked(value: number | undefined, range: Range | undefined): boolean {
  return range === undefined || within(value ?? 0, range)
}

/** Names may have stars: "m5.*", "c5*". */
function isNamed(name: string, { AllowedInstanceTypes: allowed = [], ExcludedInstanceTypes: excluded = [] }: InstanceRequirementsRequest): boolean {
  const matches = (pattern: string) => globOf(pattern).test(name)
  return (allowed.length === 0 || allowed.some(matches)) && !excluded.some(matches)
}

function globOf(pattern: string): RegExp {
  return new RegExp(`^${pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)).join('[^]*')}$`)
}

function boots(info: Readonly<InstanceTypeInfo>, { architectures, virtualizations }: MachineKind): boolean {
  return (info.ProcessorInfo?.SupportedArchitectures ?? []).some((each) => architectures.includes(each)) &&
    (info.SupportedVirtualizationTypes ?? []).some((each) => virtualizations.includes(each))
}

function isOfKind(info: Readonly<InstanceTypeInfo>, asked: InstanceRequirementsRequest): boolean {
  const generation = info.CurrentGeneration ? 'current' : 'previous'
  return admits(asked.BareMetal, info.BareMetal === true) &&
    admits(asked.BurstablePerformance, info.BurstablePerformanceSupported === true) &&
    isAmong(generation, asked.InstanceGenerations) &&
    isAmong(makerName(info.ProcessorInfo?.Manufacturer), asked.CpuManufacturers) &&
    (asked.RequireHibernateSupport !== true || info.HibernationSupported === true) &&
    (asked.RequireEncryptionInTransit !== true || info.NetworkInfo?.EncryptionInTransitSupported === true)
}

function admits(wish: string | undefined, isSo: boolean, unsaid = 'excluded'): boolean {
  const said = wish || unsaid
  return said === 'included' || (said === 'required') === isSo
}

function isAmong(value: string, wanted: readonly string[] | undefined): boolean {
  return !wanted || wanted.length === 0 || wanted.includes(value)
}

function hasParts(info: Readonly<InstanceTypeInfo>, asked: InstanceRequirementsRequest): boolean {
  const { NetworkInfo: network, InstanceStorageInfo: storage } = info
  const gbps = (network?.NetworkCards ?? []).reduce((sum, card) => sum + (card.BaselineBandwidthInGbps ?? 0), 0)
  const disks = (storage?.Disks ?? []).map((disk) => disk.Type ?? '')
  const storageTypes = asked.LocalStorageTypes ?? []
  return withinAsked((info.MemoryInfo?.SizeInMiB ?? 0) / 1024 / (info.VCpuInfo?.DefaultVCpus ?? 1), asked.MemoryGiBPerVCpu) &&
    withinAsked(network?.MaximumNetworkInterfaces, asked.NetworkInterfaceCount) &&
    withinAsked(gbps, asked.NetworkBandwidthGbps) &&
    withinAsked(info.EbsInfo?.EbsOptimizedInfo?.BaselineBandwidthInMbps, asked.BaselineEbsBandwidthMbps) &&
    admits(asked.LocalStorage, info.InstanceStorageSupported === true, 'included') &&
    // Of types without disks this says nothing: LocalStorage does.
    (disks.length === 0 || storageTypes.length === 0 || disks.some((disk) => isAmong(disk, storageTypes))) &&
    withinAsked(storage?.TotalSizeInGB, asked.TotalLocalStorageGB)
}

function hasAccelerators(info: Readonly<InstanceTypeInfo>, asked: InstanceRequirementsRequest): boolean {
  const all = acceleratorsOf(info)
  const sum = (of: 'count' | 'memory') => all.reduce((total, each) => total + each.count * (of === 'count' ? 1 : each.memoryMib), 0)
  const named = [asked.AcceleratorTypes, asked.AcceleratorManufacturers, asked.AcceleratorNames].some((list) => list && list.length > 0)
  return withinAsked(sum('count'), asked.AcceleratorCount) && withinAsked(sum('memory'), asked.AcceleratorTotalMemoryMiB) &&
    (!named || all.some((each) => isAmong(each.type, asked.AcceleratorTypes) &&
      isAmong(each.manufacturer, asked.AcceleratorManufacturers) && isAmong(each.name, asked.AcceleratorNames)))
}

/**
 * Those of the types that are not much dearer than the cheapest of the usual families (C, M and R of the current generation),
 * else than the cheapest of the current generation, else of all. `unitsOf` says per what prices are compared.
 */
export function withinPriceProtection(
  names: readonly string[],
  { OnDemandMaxPricePercentageOverLowestPrice: percentage = DEFAULT_PRICE_PERCENTAGE }: InstanceRequirementsRequest,
  unitsOf: (name: string) => number,
): string[] {
  if (percentage >= NO_PRICE_PROTECTION) return [...names]
  const priceOf = (name: string) => (onDemandPrice(name) ?? Number.POSITIVE_INFINITY) / unitsOf(name)
  return upTo(lowest(names, priceOf) * (1 + percentage / 100), names, priceOf)
}

/**
 * The same on spot: by the percentage over the lowest spot price, twice as much unless given, or by one of the lowest price on
 * demand. `spotPriceOf` tells a type's price, in the unit of micro-dollars per hour; infinite for a type that is not had.
 */
export function withinSpotPriceProtection(
  names: readonly string[],
  asked: InstanceRequirementsRequest,
  unitsOf: (name: string) => number,
  spotPriceOf: (name: string) => number,
): string[] {
  const { SpotMaxPricePercentageOverLowestPrice: overLowest, MaxSpotPriceAsPercentageOfOptimalOnDemandPrice: ofOnDemand } = asked
  const priceOf = (name: string) => spotPriceOf(name) / unitsOf(name)
  const percentage = ofOnDemand ?? overLowest ?? DEFAULT_SPOT_PRICE_PERCENTAGE
  if (percentage >= NO_PRICE_PROTECTION) return upTo(Number.MAX_VALUE, names, priceOf)
  if (ofOnDemand === undefined) return upTo(lowest(names, priceOf) * (1 + percentage / 100), names, priceOf)
  const onDemandOf = (name: string) => (onDemandPrice(name) ?? Number.POSITIVE_INFINITY) * 1_000_000 / unitsOf(name)
  return upTo(lowest(names, onDemandOf) * percentage / 100, names, priceOf)
}

/** The lowest price of the types that others are compared with. */
function lowest(names: readonly string[], priceOf: (name: string) => number): number {
  const current = names.filter((name) => instanceType(name)?.CurrentGeneration)
  const usual = current.filter((name) => /^[cmr]\d/.test(name))
  const base = [usual, current, names].find((each) => each.length > 0) ?? []
  return Math.min(...base.map(priceOf))
}

function upTo(limit: number, names: readonly string[], priceOf: (name: string) => number): string[] {
  return names.filter((name) => priceOf(name) <= limit && Number.isFinite(priceOf(name)))
}
