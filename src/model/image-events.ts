import type { ImageTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { emitEvent, regionOf } from './cloud-event.ts'

/**
 * EC2 AMI State Change: an image has entered a state. EC2 tells of no other states than these, so not of `pending`. The provider's own
 * images are nobody's to hear of. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-ami-events.html
 */
export async function emitImageState(
  db: Db,
  { image_id: imageId, account_id: accountId }: Pick<ImageTable, 'image_id' | 'account_id'>,
  { state, requestId = '', error = '' }: { state: 'available' | 'failed' | 'deregistered' | 'disabled'; requestId?: string | undefined; error?: string },
  nowMs: number,
): Promise<void> {
  if (accountId === PROVIDER_ACCOUNT) return
  await emitEvent(db, {
    accountId, detailType: 'EC2 AMI State Change', resources: [`arn:aws:ec2:${await regionOf(db)}::image/${imageId}`],
    detail: { RequestId: requestId, ImageId: imageId, State: state, ErrorMessage: error },
  }, nowMs)
}
