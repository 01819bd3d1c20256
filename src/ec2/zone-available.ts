import { ApiError } from '../core/errors.ts'
import { zoneStatus } from '../model/zone.ts'
import type { Context } from './context.ts'

/**
 * For a call that the hosts of a zone have to act upon, and somebody waits for.
 *
 * @throws ApiError Unavailable while the zone has failed; the words are EC2's own
 *   (https://github.com/aws/aws-sdk-go-v2/issues/2254).
 */
export async function requireZone({ db }: Pick<Context, 'db'>, zone: string): Promise<void> {
  if (await isZoneUp({ db }, zone)) return
  throw new ApiError('Unavailable', 'The service is unavailable. Please try again shortly.')
}

/** Whether the hosts of a zone act at all. */
export async function isZoneUp({ db }: Pick<Context, 'db'>, zone: string): Promise<boolean> {
  return (await zoneStatus(db, zone)).state === 'available'
}
