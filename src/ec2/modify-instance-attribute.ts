import type {
  InstanceBlockDeviceMappingSpecification, ModifyInstanceAttributeRequest, ResetInstanceAttributeRequest,
} from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { changeInstanceDoc, changeInstanceOptions, instanceDoc } from '../model/instance.ts'
import { isAttached } from '../model/volume-wire.ts'
import type { InstanceTable } from '../store/schema.ts'
import { countAddresses } from './attach-network-interface.ts'
import type { Context } from './context.ts'
import { refuseHibernated } from './hibernation.ts'
import { ATTRIBUTE_NAMES } from './instance-attributes.ts'
import { replaceGroups, requireOneInterface } from './instance-groups.ts'
import { requireLivingInstance, requireStopped } from './instance-rows.ts'
import { resize } from './instance-size.ts'
import { checkAddressCount, checkInterfaceCount } from './interface-limits.ts'
import { checkHibernationType } from './launch-hibernation.ts'
import { setSourceDestCheck } from './network-interface-attributes.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { checkGroup } from './requested-placement.ts'
import { requestedUserData, sizeOf } from './run-instances-input.ts'
import { refuseOnSpot } from './spot-instance-rules.ts'
import { checkEbsOptimized } from './run-instances-options.ts'

type AttributeName = (typeof ATTRIBUTE_NAMES)[number]

/** What a call wants an attribute to be: a text as `Value` gives it, or the structure of the other form. */
interface Change {
  name: AttributeName
  text: string
  input: ModifyInstanceAttributeRequest
}

/**
 * ModifyInstanceAttribute: exactly one attribute, named by Attribute with Value or by a parameter of
 * its own. Type, user data and hardware features are changed while the instance is stopped.
 *
 * @throws ApiError InvalidParameterCombination for none or several attributes, IncorrectInstanceState,
 *   InvalidInstanceAttributeValue, UnsupportedOperation for what Hearth does not honour.
 */
export async function modifyInstanceAttribute(context: Context, input: ModifyInstanceAttributeRequest): Promise<void> {
  const change = requestedChange(input)
  const row = await requireLivingInstance(context, input.InstanceId)
  await CHANGES[change.name](context, row, change)
}

/** The one attribute that a call names, in either form. */
function requestedChange(input: ModifyInstanceAttributeRequest): Change {
  const named = checkEnum('attribute', input.Attribute, ATTRIBUTE_NAMES)
  if (input.Value !== undefined && named === undefined) throw missingParameter('attribute')
  const structured = structuredTexts(input)
  const names = new Set([...(named === undefined ? [] : [named]), ...structured.keys()])
  const [name, ...others] = names
  if (name === undefined) throw new ApiError('InvalidParameterCombination', 'No attributes specified.')
  if (others.length > 0) {
    throw new ApiError('InvalidParameterCombination', `Fields for multiple attribute types specified: ${[...names].join(', ')}`)
  }
  const text = structured.get(name) ?? input.Value
  // User data alone may be emptied.
  if (text === undefined && name !== 'userData') throw missingParameter('value')
  return { name, text: text ?? '', input }
}

/** The attributes that a call changes by parameters of their own; lists and structures have no text. */
function structuredTexts(input: ModifyInstanceAttributeRequest): Map<AttributeName, string> {
  const { UserData: userData } = input
  const texts: Record<string, string | boolean | undefined> = {
    instanceType: input.InstanceType?.Value,
    kernel: input.Kernel?.Value,
    ramdisk: input.Ramdisk?.Value,
    userData: userData && Buffer.from(userData.Value ?? []).toString('base64'),
    disableApiTermination: input.DisableApiTermination?.Value,
    disableApiStop: input.DisableApiStop?.Value,
    instanceInitiatedShutdownBehavior: input.InstanceInitiatedShutdownBehavior?.Value,
    blockDeviceMapping: (input.BlockDeviceMappings ?? []).length > 0 ? '' : undefined,
    groupSet: (input.Groups ?? []).length > 0 ? '' : undefined,
    sourceDestCheck: input.SourceDestCheck?.Value,
    ebsOptimized: input.EbsOptimized?.Value,
    enaSupport: input.EnaSupport?.Value,
    sriovNetSupport: input.SriovNetSupport?.Value,
    enclaveOptions: input.EnclaveOptions?.Enabled,
  }
  return new Map(ATTRIBUTE_NAMES.flatMap((name) => {
    const text = texts[name]
    return text === undefined ? [] : [[name, String(text)] as const]
  }))
}

const CHANGES: Record<AttributeName, (context: Context, row: InstanceTable, change: Change) => Promise<void>> = {
  instanceType: changeType,
  userData: changeUserData,
  async disableApiTermination({ db }, row, change) {
    refuseOnSpot(row, 'disableApiTermination')
    const disableApiTermination = booleanOf(change)
    await changeInstanceOptions(db, row.instance_id, { disableApiTermination })
    // Clients switch it off before they terminate.
    const isProtected = disableApiTermination || instanceDoc(row).options.disableApiTermination
    if (isProtected) await changeInstanceDoc(db, row.instance_id, { wasProtected: true })
  },
  async disableApiStop({ db }, row, change) {
    refuseOnSpot(row, 'disableApiStop')
    await changeInstanceOptions(db, row.instance_id, { disableApiStop: booleanOf(change) })
  },
  async instanceInitiatedShutdownBehavior({ db }, row, { name, text }) {
    const shutdownBehavior = checkEnum(name, text, ['stop', 'terminate'])
    if (shutdownBehavior) await changeInstanceDoc(db, row.instance_id, { shutdownBehavior })
  },
  blockDeviceMapping: (context, row, { input }) => changeDeletion(context, row, input.BlockDeviceMappings ?? []),
  async groupSet(context, row, { input }) {
    await replaceGroups(context, await requireOneInterface(context.db, row.instance_id), input.Groups ?? [])
  },
  async sourceDestCheck(context, row, change) {
    await setSourceDestCheck(context, await requireOneInterface(context.db, row.instance_id), booleanOf(change))
  },
  async ebsOptimized({ db }, row, change) {
    requireAtRest(row, 'its EBS optimization')
    const ebsOptimized = booleanOf(change)
    if (ebsOptimized) checkEbsOptimized(row.instance_type)
    await changeInstanceOptions(db, row.instance_id, { ebsOptimized })
  },
  async enaSupport({ db }, row, change) {
    requireAtRest(row, 'its network driver')
    if (!booleanOf(change)) throw unsupportedParameter('EnaSupport=false')
    await changeInstanceDoc(db, row.instance_id, { enaSupport: true })
  },
  async sriovNetSupport({ db }, row, { name, text }) {
    requireAtRest(row, 'its network driver')
    const sriovNetSupport = checkEnum(name, text, ['simple'])
    if (sriovNetSupport) await changeInstanceOptions(db, row.instance_id, { sriovNetSupport })
  },
  async enclaveOptions(_context, row, change) {
    requireAtRest(row, 'its enclave')
    if (booleanOf(change)) throw unsupportedParameter('EnclaveOptions.Enabled=true')
  },
  kernel: refuse,
  ramdisk: refuse,
  rootDeviceName: refuseAlways,
  productCodes: refuseAlways,
}

async function refuse(_context: Context, _row: InstanceTable, { name }: Change): Promise<void> {
  throw unsupportedParameter(name)
}

async function refuseAlways(_context: Context, _row: InstanceTable, { name }: Change): Promise<void> {
  throw invalidValue('attribute', name, 'It can not be modified.')
}

function booleanOf({ name, text }: Change): boolean {
  const lower = text.toLowerCase()
  if (lower !== 'true' && lower !== 'false') throw invalidValue(name, text, 'It must be true or false.')
  return lower === 'true'
}

/** Checks that the instance is stopped, and not hibernated: `what` would not be what its memory knows. */
function requireAtRest(row: InstanceTable, what: string): void {
  requireStopped(row)
  refuseHibernated(row, what)
}

/** Another type: the next start takes capacity for it. CPU options were of the old one. */
async function changeType({ db }: Context, row: InstanceTable, { text: name }: Change): Promise<void> {
  const info = instanceType(name)
  const invalid = (message: string) => new ApiError('InvalidInstanceAttributeValue', message)
  if (!info) throw invalid(`The instance type '${name}' is not valid.`)
  refuseOnSpot(row, 'instanceType')
  requireAtRest(row, 'its instance type')
  if (name === row.instance_type) return
  const { architecture, enaSupport, hibernation } = instanceDoc(row)
  const interfaces = await db.selectFrom('interfaces').selectAll().where('instance_id', '=', row.instance_id).execute()
  checkInterfaceCount(name, interfaces.length)
  for (const each of interfaces) checkAddressCount(name, await countAddresses({ db }, each))
  if (!info.ProcessorInfo?.SupportedArchitectures?.some((each) => each === architecture)) {
    throw invalid(`Modifying the instance type from ${row.instance_type} to ${name} is not allowed.`)
  }
  if (enaSupport === false && info.NetworkInfo?.EnaSupport === 'required') {
    throw new ApiError(
      'InvalidParameterCombination',
      `Enhanced networking with the Elastic Network Adapter (ENA) is required for the '${name}' instance type. Ensure that ` +
        `your instance '${row.instance_id}' is enabled for ENA.`,
    )
  }
  if (hibernation) checkHibernationType(name)
  const group = row.placement_group_id === null ? undefined : await db
    .selectFrom('placement_groups').selectAll().where('group_id', '=', row.placement_group_id).executeTakeFirst()
  if (group) checkGroup(group, row.tenancy, name)
  await resize({ db }, row, sizeOf(name, info), null)
}

async function changeUserData({ db }: Context, row: InstanceTable, { text }: Change): Promise<void> {
  const userData = requestedUserData({ UserData: text })
  requireAtRest(row, 'its user data')
  await changeInstanceDoc(db, row.instance_id, { userData })
}

/** DeleteOnTermination of attached volumes, by the device that they are attached as. */
async function changeDeletion(
  { db }: Context,
  row: InstanceTable,
  mappings: readonly InstanceBlockDeviceMappingSpecification[],
): Promise<void> {
  if (mappings.length === 0) throw missingParameter('blockDeviceMapping')
  const volumes = await db.selectFrom('volumes').selectAll().where('instance_id', '=', row.instance_id).execute()
  for (const { DeviceName: device, Ebs: ebs, NoDevice: noDevice, VirtualName: virtualName } of mappings) {
    if (!device) throw missingParameter('blockDeviceMapping.deviceName')
    if (noDevice !== undefined || virtualName) throw unsupportedParameter('BlockDeviceMapping.NoDevice or VirtualName')
    const volume = volumes.find((each) => each.device === device && isAttached(each))
    if (!volume || (ebs?.VolumeId && ebs.VolumeId !== volume.volume_id)) {
      throw new ApiError('InvalidInstanceAttributeValue', `No device is currently mapped at ${device}`)
    }
    await db
      .updateTable('volumes').set({ delete_on_termination: ebs?.DeleteOnTermination === false ? 0 : 1 })
      .where('volume_id', '=', volume.volume_id).execute()
  }
}

/**
 * ResetInstanceAttribute: the source/destination check is on again. Instances have no kernel and no RAM disk but their
 * image's, so that those of a stopped one are what they would be reset to.
 *
 * @throws ApiError IncorrectInstanceState, InvalidInstanceID where there are several interfaces.
 */
export async function resetInstanceAttribute(context: Context, input: ResetInstanceAttributeRequest): Promise<void> {
  const name = checkEnum('attribute', input.Attribute, ['kernel', 'ramdisk', 'sourceDestCheck'])
  if (name === undefined) throw missingParameter('attribute')
  const row = await requireLivingInstance(context, input.InstanceId)
  if (name === 'sourceDestCheck') await setSourceDestCheck(context, await requireOneInterface(context.db, row.instance_id), true)
  else requireStopped(row)
}
