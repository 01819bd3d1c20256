import type {
  DisableImageDeprecationRequest, DisableImageDeprecationResult, DisableImageDeregistrationProtectionRequest,
  DisableImageDeregistrationProtectionResult, DisableImageRequest, DisableImageResult, EnableImageDeprecationRequest,
  EnableImageDeprecationResult, EnableImageDeregistrationProtectionRequest, EnableImageDeregistrationProtectionResult,
  EnableImageRequest, EnableImageResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { changeImageDoc, imageDoc, type ImageDoc } from '../model/image.ts'
import { emitImageState } from '../model/image-events.ts'
import { deregistrationProtection } from '../model/image-wire.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requireOwnImage, requireWholeImage } from './image-rows.ts'
import { dropPermissions } from './modify-image-attribute.ts'
import { missingParameter } from './parameters.ts'

const MINUTE_MS = 60 * 1000

/** How far ahead a deprecation may be: from now, and for a public image from its creation. */
const MOST_DEPRECATION_YEARS = 10
const MOST_PUBLIC_DEPRECATION_YEARS = 2

/** DisableImage: nobody can launch it, and nobody but its owner knows it any more. Its instances run on. */
export async function disableImage(context: Context, input: DisableImageRequest): Promise<DisableImageResult> {
  const row = await requireWholeImage(context, input.ImageId)
  await dropPermissions(context, row.image_id)
  await setState(context, row, 'disabled')
  return { Return: true }
}

/** EnableImage: its owner can launch it again; it stays unshared. */
export async function enableImage(context: Context, input: EnableImageRequest): Promise<EnableImageResult> {
  const row = await requireWholeImage(context, input.ImageId)
  await setState(context, row, 'available')
  return { Return: true }
}

async function setState({ db, nowMs, requestId }: Context, row: ImageTable, state: 'available' | 'disabled'): Promise<void> {
  await db.updateTable('images').set({ state }).where('image_id', '=', row.image_id).execute()
  if (row.state !== state) await emitImageState(db, row, { state, requestId }, nowMs)
}

/**
 * EnableImageDeprecation: from that minute on, accounts other than its owner's do not find it any more unless they ask for
 * deprecated ones, or know its id; they can still launch it.
 *
 * @throws ApiError InvalidParameterValue for a date that is past, or too far ahead.
 */
export async function enableImageDeprecation(
  context: Context,
  input: EnableImageDeprecationRequest,
): Promise<EnableImageDeprecationResult> {
  if (!input.DeprecateAt) throw missingParameter('DeprecateAt')
  const row = await requireWholeImage(context, input.ImageId)
  const deprecationMs = Math.round(input.DeprecateAt.getTime() / MINUTE_MS) * MINUTE_MS
  const latestMs = row.is_public === 1
    ? yearsAfter(row.created_ms, MOST_PUBLIC_DEPRECATION_YEARS)
    : yearsAfter(context.nowMs, MOST_DEPRECATION_YEARS)
  if (!(input.DeprecateAt.getTime() >= context.nowMs)) throw invalidDate(input.DeprecateAt, 'The date must not be in the past.')
  if (deprecationMs > latestMs) {
    throw invalidDate(input.DeprecateAt, `The latest date for this image is ${new Date(latestMs).toISOString()}.`)
  }
  await changeImageDoc(context.db, row.image_id, { deprecationMs })
  return { Return: true }
}

/** DisableImageDeprecation: the image is not deprecated any more, or is not going to be. */
export async function disableImageDeprecation(
  context: Context,
  input: DisableImageDeprecationRequest,
): Promise<DisableImageDeprecationResult> {
  const row = await requireOwnImage(context, input.ImageId)
  const { deprecationMs: _, ...doc } = imageDoc(row)
  await context.db
    .updateTable('images').set({ doc: JSON.stringify(doc satisfies ImageDoc) }).where('image_id', '=', row.image_id).execute()
  return { Return: true }
}

function yearsAfter(ms: number, years: number): number {
  const date = new Date(ms)
  return date.setUTCFullYear(date.getUTCFullYear() + years)
}

function invalidDate(date: Date, hint: string): ApiError {
  const text = Number.isNaN(date.getTime()) ? 'no date' : date.toISOString()
  return new ApiError('InvalidParameterValue', `Value (${text}) for parameter DeprecateAt is invalid. ${hint}`)
}

/** EnableImageDeregistrationProtection; with a cooldown it holds for 24 hours more when it is disabled. */
export async function enableImageDeregistrationProtection(
  context: Context,
  input: EnableImageDeregistrationProtectionRequest,
): Promise<EnableImageDeregistrationProtectionResult> {
  const row = await requireOwnImage(context, input.ImageId)
  const change = { deregistrationProtection: { enabled: true, cooldown: input.WithCooldown === true } }
  await changeImageDoc(context.db, row.image_id, change)
  return { Return: deregistrationProtection({ ...imageDoc(row), ...change }) }
}

/** DisableImageDeregistrationProtection. */
export async function disableImageDeregistrationProtection(
  context: Context,
  input: DisableImageDeregistrationProtectionRequest,
): Promise<DisableImageDeregistrationProtectionResult> {
  const row = await requireOwnImage(context, input.ImageId)
  const { deregistrationProtection: protection } = imageDoc(row)
  // Disabling it twice does not make the cooldown longer.
  if (protection?.enabled) {
    await changeImageDoc(context.db, row.image_id, {
      deregistrationProtection: { enabled: false, cooldown: protection.cooldown, disabledMs: context.nowMs },
    })
  }
  return { Return: 'disabled' }
}
