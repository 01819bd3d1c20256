import type { GetPasswordDataRequest, GetPasswordDataResult } from '@aws-sdk/client-ec2'
import type { Context } from './context.ts'
import { requireInstance } from './instance-rows.ts'

/**
 * GetPasswordData: empty, as for every instance that is not Windows; none here is.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetPasswordData.html
 */
export async function getPasswordData(context: Context, input: GetPasswordDataRequest): Promise<GetPasswordDataResult> {
  const row = await requireInstance(context, input.InstanceId)
  return { InstanceId: row.instance_id, Timestamp: new Date(context.nowMs), PasswordData: '' }
}
