import type { BlockDeviceMapping, RequestLaunchTemplateData, RunInstancesRequest, TagSpecification } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { versionDoc } from '../model/launch-template.ts'
import type { Context } from './context.ts'
import { requireTemplate, requireVersion } from './launch-template-rows.ts'

/** The template that a launch used, as the tags of its instances tell. */
export interface UsedTemplate {
  id: string
  version: number
}

/**
 * A launch with what its template says where the call itself says nothing. Block devices are put together by their names, and
 * tags by resource type and key; the call's own count. Everything else is the call's own, whole, or the template's.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/launch-instances-from-launch-template.html
 *
 * @throws ApiError for a template or version that is not there; InvalidParameterCombination for one that names no type but
 *   attributes of types, from which only fleets choose.
 */
export async function withLaunchTemplate(
  context: Context,
  input: RunInstancesRequest,
): Promise<{ input: RunInstancesRequest; template: UsedTemplate | null }> {
  const { LaunchTemplate: named, ...own } = input
  if (!named || Object.values(named).every((value) => !value)) return { input, template: null }
  const template = await requireTemplate(context, named)
  const row = await requireVersion(context, template, named.Version)
  const { data } = versionDoc(row)
  if (data.InstanceRequirements) {
    throw new ApiError(
      'InvalidParameterCombination',
      'A launch template that specifies InstanceRequirements can be used by fleets only, and not by RunInstances.')
  }
  return { input: mergeTemplate(data, own), template: { id: template.template_id, version: row.version } }
}

/** What a launch asks for that says `own` over what a template says. Attributes of types say nothing here. */
export function mergeTemplate(data: RequestLaunchTemplateData, own: RunInstancesRequest): RunInstancesRequest {
  const { RamDiskId: ramdisk, ElasticGpuSpecifications: gpus, InstanceRequirements: _requirements, ...rest } = data
  const theirs = { ...rest, RamdiskId: ramdisk, ElasticGpuSpecification: gpus } as Partial<RunInstancesRequest>
  // By names or by ids. Beside interfaces of the call's own they stay, to be refused as in any other call: nobody wants them lost.
  if (own.SecurityGroups?.length || own.SecurityGroupIds?.length) {
    delete theirs.SecurityGroups
    delete theirs.SecurityGroupIds
  }
  return {
    ...withoutNothing(theirs), ...withoutNothing(own), MinCount: own.MinCount, MaxCount: own.MaxCount,
    ...present('BlockDeviceMappings', mergeMappings(theirs.BlockDeviceMappings, own.BlockDeviceMappings)),
    ...present('TagSpecifications', mergeTags(theirs.TagSpecifications, own.TagSpecifications)),
  }
}

/** Empty texts and lists say nothing, as in any other call. */
function withoutNothing<T extends object>(input: T): T {
  return Object.fromEntries(Object.entries(input).filter(([, value]) =>
    value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0))) as T
}

function present<Name extends string, T>(name: Name, list: T[]): Partial<Record<Name, T[]>> {
  return (list.length === 0 ? {} : { [name]: list }) as Partial<Record<Name, T[]>>
}

function mergeMappings(theirs: readonly BlockDeviceMapping[] = [], own: readonly BlockDeviceMapping[] = []): BlockDeviceMapping[] {
  return [...theirs.filter((each) => !own.some(({ DeviceName: name }) => name === each.DeviceName)), ...own]
}

function mergeTags(theirs: readonly TagSpecification[] = [], own: readonly TagSpecification[] = []): TagSpecification[] {
  const more = theirs.flatMap((each): TagSpecification[] => {
    const mine = own.find(({ ResourceType: type }) => type === each.ResourceType)
    const keys = new Set(mine?.Tags?.map((tag) => tag.Key))
    const left = (each.Tags ?? []).filter((tag) => !keys.has(tag.Key))
    return mine ? [{ ...mine, Tags: [...left, ...(mine.Tags ?? [])] }] : [each]
  })
  // A second specification of a type stays, to be refused as in any other call.
  const used = new Set(theirs.map(({ ResourceType: type }) => own.find((each) => each.ResourceType === type)))
  return [...more, ...own.filter((each) => !used.has(each))]
}
