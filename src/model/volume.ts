import type { VolumeTable } from '../store/schema.ts'

/** What of a volume SQL never looks into. */
export interface VolumeDoc {
  iops: number | null
  throughputMibps: number | null
}

/** The doc of a volume row. */
export function volumeDoc(row: Pick<VolumeTable, 'doc'>): VolumeDoc {
  return JSON.parse(row.doc) as VolumeDoc
}
