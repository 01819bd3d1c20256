import { inBatches } from '../store/batch.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { emitEvent, regionOf } from './cloud-event.ts'

/** How long EC2 answers with nothing, and not with an error, who asks for an image that is gone; as long as it shows terminated instances. */
const RECENT_MS = 60 * 60 * 1000
const DETAIL_TYPE = 'EC2 AMI State Change'

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
    accountId, detailType: DETAIL_TYPE, resources: [imageArn(await regionOf(db), imageId)],
    detail: { RequestId: requestId, ImageId: imageId, State: state, ErrorMessage: error },
  }, nowMs)
}

function imageArn(region: string, imageId: string): string {
  return `arn:aws:ec2:${region}::image/${imageId}`
}

/** Those of some images that their owner deregistered within the last hour, as the events of it tell. */
export async function recentlyDeregistered(
  db: Db,
  { accountId, region, nowMs }: { accountId: string; region: string; nowMs: number },
  imageIds: readonly string[],
): Promise<Set<string>> {
  const byResources = new Map(imageIds.map((id) => [JSON.stringify([imageArn(region, id)]), id]))
  const rows = await inBatches([...byResources.keys()], (batch) => db
    .selectFrom('cloud_events').select(['resources', 'detail'])
    .where('at_ms', '>', nowMs - RECENT_MS).where('account_id', '=', accountId).where('detail_type', '=', DETAIL_TYPE)
    .where('resources', 'in', batch).execute())
  const ended = rows.filter(({ detail }) => (JSON.parse(detail) as { State?: string }).State === 'deregistered')
  return new Set(ended.flatMap(({ resources }) => byResources.get(resources) ?? []))
}
