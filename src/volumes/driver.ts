/** A layer's file as it should be. */
export interface LayerSpec {
  layerId: string
  sizeGib: number
  /** The layer under it; null for one that stands alone. */
  parentId: string | null
  /**
   * The passphrase that its blocks are encrypted by (LUKS); null for a plain one. It is base64 text and the
   * passphrase is that text, not the bytes that it stands for: QEMU takes only UTF-8 (secret's format=raw).
   */
  key: string | null
}

/** A layer as something to read, or at the top of a disk to write. `path` as given by Volumes.pathOf. */
export interface LayerRef {
  layerId: string
  path: string
  key: string | null
}

/** Formats of disk files that can be imported. */
export const DISK_FORMATS = ['qcow2', 'raw', 'vmdk', 'vpc', 'vhdx'] as const
export type DiskFormat = (typeof DISK_FORMATS)[number]

/** What a layer is filled with: what a chain of layers shows (from the top), or a file that was checked. */
export type FillSource = { chain: LayerRef[] } | { file: string; format: DiskFormat }

/** How far filling is; `failed` when no further try would help. */
export type FillProgress =
  | { state: 'running'; percent: number }
  | { state: 'done' }
  | { state: 'failed'; reason: string }

/** What the files of this host take. */
export interface DiskUsage {
  /** Bytes on disk of each layer. */
  bytesOf: Map<string, number>
  /** Of the file system that they are on. */
  freeBytes: number
  totalBytes: number
}

/**
 * Owns the files of layers: of volumes, and of what is immutable under them. Every method is
 * idempotent and may be called again after a crash at any point.
 */
export interface Volumes {
  /** Makes the layer's file, empty or over its parent's, unless it is there. Never changes the data of one that is. */
  ensureLayer(spec: LayerSpec): Promise<void>
  /**
   * Begins to make the layer's file with that content, or tells how far that is; the file is there only
   * when it is whole. Goes on in the background until then; a restart of the agent begins anew.
   */
  ensureFilled(spec: LayerSpec, source: FillSource): Promise<FillProgress>
  /** Makes the file immutable: nobody writes into it any more, and all of it is on disk. */
  ensureSealed(layerId: string): Promise<void>
  /** Makes the disk larger that a layer is; for one that no machine has open. Never makes it smaller. */
  ensureSize(spec: LayerSpec): Promise<void>
  /** Deletes the layer's file, and ends what fills it. */
  ensureDeleted(layerId: string): Promise<void>
  /** Where the layer's file is (or will be), absolute. */
  pathOf(layerId: string): string
  /** Ids of all layers with a file. */
  list(): Promise<string[]>
  /** Whether the layer's file is there. */
  has(layerId: string): Promise<boolean>
  /** Takes over `file` (moved, made immutable) as the layer's, atomically. */
  importLayer(layerId: string, file: string): Promise<void>
  usage(): Promise<DiskUsage>
  /** Ends what runs in the background; files stay as they are. */
  close(): Promise<void>
}
