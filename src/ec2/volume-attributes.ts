import type {
  DescribeVolumeAttributeRequest, DescribeVolumeAttributeResult, ModifyVolumeAttributeRequest,
} from '@aws-sdk/client-ec2'
import { changeVolumeDoc, volumeDoc } from '../model/volume.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { requireVolume } from './volume-rows.ts'

/** DescribeVolumeAttribute: the volume's id and the one attribute. Nothing here has product codes. */
export async function describeVolumeAttribute(
  context: Context,
  input: DescribeVolumeAttributeRequest,
): Promise<DescribeVolumeAttributeResult> {
  const name = checkEnum('attribute', input.Attribute, ['autoEnableIO', 'productCodes'])
  if (name === undefined) throw missingParameter('attribute')
  const row = await requireVolume(context, input.VolumeId)
  if (name === 'productCodes') return { VolumeId: row.volume_id, ProductCodes: [] }
  return { VolumeId: row.volume_id, AutoEnableIO: { Value: volumeDoc(row).autoEnableIo ?? false } }
}

/** ModifyVolumeAttribute: whether I/O is to be enabled by itself again, which nothing here ever disables. */
export async function modifyVolumeAttribute(
  context: Context,
  input: ModifyVolumeAttributeRequest,
): Promise<Record<string, never>> {
  const autoEnableIo = input.AutoEnableIO?.Value
  if (autoEnableIo === undefined) throw missingParameter('autoEnableIO')
  await changeVolumeDoc(context.db, await requireVolume(context, input.VolumeId), { autoEnableIo })
  return {}
}
