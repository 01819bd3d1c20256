/** A volume's disk file as it should be. */
export interface VolumeSpec {
  volumeId: string
  sizeGib: number
  /** Snapshot whose immutable layer the volume starts from; null for an empty volume. */
  snapshotId: string | null
}

/**
 * Owns the disk files of volumes and the immutable layers under them. Every method is idempotent
 * and may be called again after a crash at any point.
 */
export interface Volumes {
  /** Makes the volume's file unless it is there. Never changes the data of one that is. */
  ensureVolume(spec: VolumeSpec): Promise<void>
  /** Deletes the volume's file. */
  ensureDeleted(volumeId: string): Promise<void>
  /** Where the volume's file is (or will be), absolute. */
  pathOf(volumeId: string): string
  /** Ids of all volumes with a file. */
  list(): Promise<string[]>
  /** Whether the snapshot's layer is there, whole. */
  hasLayer(snapshotId: string): Promise<boolean>
  /** Takes over `file` (moved, made read-only) as the snapshot's immutable layer, atomically. */
  importLayer(snapshotId: string, file: string): Promise<void>
  /** Ids of the snapshots with a layer. */
  listLayers(): Promise<string[]>
}
