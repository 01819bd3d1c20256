import type { ModifyVolumeRequest, ModifyVolumeResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import { changeVolumeDoc, volumeDoc } from '../model/volume.ts'
import { isSameDevice } from '../model/volume-device.ts'
import {
  modificationDoc, modificationToWire, type VolumeModificationDoc, type VolumeShape,
} from '../model/volume-modification.ts'
import { isBootable, VOLUME_TYPES, volumePerformance, type VolumeTypeName } from '../model/volume-type.ts'
import { wakeInstance } from '../model/wake-instance.ts'
import { insertRow } from '../store/prepared.ts'
import type { InstanceTable, VolumeModificationTable, VolumeTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { refuseHibernated } from './hibernation.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters } from './parameters.ts'
import { incorrectVolumeState, requireVolume } from './volume-rows.ts'
import { requireZone } from './zone-available.ts'

/**
 * How often a volume may be modified within a day; the next one may begin as soon as the one before is complete.
 * Until January 2026 it was once in six hours.
 * https://docs.aws.amazon.com/ebs/latest/userguide/modify-volume-requirements.html
 */
const MOST_MODIFICATIONS = 4
const MODIFICATION_WINDOW_MS = 24 * 60 * 60 * 1000

/** What a volume gets that becomes of a type that wants IOPS, when the call names none. */
const DEFAULT_IOPS = 3000

/**
 * ModifyVolume: a larger size, another type, other IOPS or throughput, also while it is attached and in use. It
 * answers `modifying`; the agent brings it into force, and the guest sees a larger disk.
 *
 * @throws ApiError IncorrectState, IncorrectModificationState while another one is under way,
 *   VolumeModificationRateExceeded, InvalidParameterValue for a smaller size, UnsupportedOperation for another size of a
 *   volume of a hibernated instance, Unavailable while its zone has failed, and what
 *   `volumePerformance` throws.
 */
export async function modifyVolume(context: Context, input: ModifyVolumeRequest): Promise<ModifyVolumeResult> {
  const { db, nowMs } = context
  refuseParameters(input, ['MultiAttachEnabled'])
  const row = await requireVolume(context, input.VolumeId)
  if (row.state !== 'available' && row.state !== 'in-use') {
    throw incorrectVolumeState(`The volume '${row.volume_id}' is in the '${row.state}' state.`)
  }
  const earlier = await modificationOf(context, row.volume_id)
  const recentMs = checkEarlier(row, earlier, nowMs)
  const original = shapeOf(row)
  const target = await requestedShape(context, row, original, input)
  await requireZone(context, row.zone)
  await db
    .updateTable('volumes').set({ size_gib: target.sizeGib, volume_type: target.volumeType, revision: row.revision + 1 })
    .where('volume_id', '=', row.volume_id).execute()
  await changeVolumeDoc(db, row, { iops: target.iops, throughputMibps: target.throughputMibps })
  const modification: VolumeModificationTable = {
    volume_id: row.volume_id, account_id: row.account_id, state: 'modifying', started_ms: nowMs, ended_ms: null,
    doc: JSON.stringify({ original, target, recentMs: [...recentMs, nowMs], requestId: context.requestId } satisfies VolumeModificationDoc),
  }
  await db.deleteFrom('volume_modifications').where('volume_id', '=', row.volume_id).execute()
  await insertRow(db, 'volume_modifications', { ...modification })
  if (row.instance_id === null) await enqueue(db, { kind: 'volume', id: row.volume_id, hostId: row.host_id }, nowMs)
  else await wakeInstance(db, row.instance_id, nowMs)
  return { VolumeModification: modificationToWire(modification) }
}

function shapeOf(row: VolumeTable): VolumeShape {
  const { iops, throughputMibps } = volumeDoc(row)
  return { sizeGib: row.size_gib, volumeType: row.volume_type, iops, throughputMibps }
}

async function modificationOf({ db }: Context, volumeId: string): Promise<VolumeModificationTable | undefined> {
  return db.selectFrom('volume_modifications').selectAll().where('volume_id', '=', volumeId).executeTakeFirst()
}

/** Checks that another modification may begin now. @returns when those of the last day began. */
function checkEarlier(row: VolumeTable, earlier: VolumeModificationTable | undefined, nowMs: number): number[] {
  if (!earlier) return []
  if (earlier.state === 'modifying' || earlier.state === 'optimizing') {
    throw new ApiError(
      'IncorrectModificationState',
      `Volume ${row.volume_id} cannot be modified in modification state ${earlier.state.toUpperCase()}`,
    )
  }
  const recentMs = modificationDoc(earlier).recentMs.filter((ms) => ms > nowMs - MODIFICATION_WINDOW_MS)
  if (recentMs.length < MOST_MODIFICATIONS) return recentMs
  throw new ApiError(
    'VolumeModificationRateExceeded',
    `You've reached the maximum modification rate per volume limit. A volume can be modified ${MOST_MODIFICATIONS} times in 24 hours.`,
  )
}

/** What the volume is to be: what the call does not name stays, but for IOPS and throughput of another type. */
async function requestedShape(
  context: Context,
  row: VolumeTable,
  original: VolumeShape,
  input: ModifyVolumeRequest,
): Promise<VolumeShape> {
  const asked = checkEnum('volumeType', input.VolumeType, VOLUME_TYPES)
  if (input.Size === undefined && asked === undefined && input.Iops === undefined && input.Throughput === undefined) {
    throw missingParameter('size, volumeType, iops or throughput')
  }
  const sizeGib = input.Size ?? original.sizeGib
  if (sizeGib < original.sizeGib) {
    throw new ApiError('InvalidParameterValue', 'New size cannot be smaller than existing size')
  }
  const volumeType = asked ?? (original.volumeType as VolumeTypeName)
  const instance = await instanceOf(context, row)
  if (instance && sizeGib !== original.sizeGib) refuseHibernated(instance, 'the size of its volumes')
  if (!isBootable(volumeType) && instance && isSameDevice(row.device, instanceDoc(instance).rootDeviceName)) {
    throw invalidValue('volumeType', volumeType, `The root volume cannot be of type ${volumeType}.`)
  }
  const isKept = volumeType === original.volumeType
  const wantsIops = volumeType === 'gp3' || volumeType === 'io1' || volumeType === 'io2'
  // IOPS of a gp2 follow from its size, what it had is no wish.
  const ofBefore = wantsIops ? (isKept ? original.iops ?? undefined : DEFAULT_IOPS) : undefined
  const performance = volumePerformance(volumeType, sizeGib, {
    iops: input.Iops ?? ofBefore,
    throughputMibps: input.Throughput ?? (isKept ? original.throughputMibps ?? undefined : undefined),
  })
  return { sizeGib, volumeType, ...performance }
}

async function instanceOf({ db }: Context, row: VolumeTable): Promise<InstanceTable | undefined> {
  if (row.instance_id === null) return undefined
  return db.selectFrom('instances').selectAll().where('instance_id', '=', row.instance_id).executeTakeFirstOrThrow()
}
