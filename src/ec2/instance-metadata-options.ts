import type { ModifyInstanceMetadataOptionsRequest, ModifyInstanceMetadataOptionsResult } from '@aws-sdk/client-ec2'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { metadataOptionsToWire } from '../model/instance-wire.ts'
import { enqueueChangedPorts } from './changed-ports.ts'
import type { Context } from './context.ts'
import { checkTokensEnforced, metadataSettings } from './instance-metadata-defaults.ts'
import { requireLivingInstance } from './instance-rows.ts'
import { changedMetadataOptions } from './run-instances-input.ts'

/**
 * ModifyInstanceMetadataOptions: what is not named stays. The metadata service reads the row for
 * every request, so that the change is in force at once; the hop limit follows with the rules of
 * the instance's ports.
 *
 * @throws ApiError InvalidParameterValue, IncorrectInstanceState for a terminated instance,
 *   UnsupportedOperation where the account insists on tokens.
 */
export async function modifyInstanceMetadataOptions(
  context: Context,
  input: ModifyInstanceMetadataOptionsRequest,
): Promise<ModifyInstanceMetadataOptionsResult> {
  const row = await requireLivingInstance(context, input.InstanceId)
  const current = instanceDoc(row).metadataOptions
  const metadataOptions = changedMetadataOptions(input, current)
  if (input.HttpTokens) checkTokensEnforced(await metadataSettings(context.db, context.account), metadataOptions)
  await changeInstanceDoc(context.db, row.instance_id, { metadataOptions })
  if (metadataOptions.httpPutResponseHopLimit !== current.httpPutResponseHopLimit) await enqueueChangedPorts(context, row)
  return { InstanceId: row.instance_id, InstanceMetadataOptions: metadataOptionsToWire(metadataOptions, 'pending') }
}
