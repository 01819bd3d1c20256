// The tables of what instances boot from and keep: see schema.ts for the conventions.

/**
 * A file of blocks: alone, or on top of another one whose blocks show where it has none. Volumes write
 * into theirs, snapshots are layers that nobody writes into any more.
 */
export interface LayerTable {
  layer_id: string
  account_id: string
  host_id: string
  /** The layer under it; null for one that stands alone. */
  parent_id: string | null
  /** The layer whose content it is a copy of, and whose place it takes in snapshots when it is whole. */
  replaces_id: string | null
  /**
   * `making`: its file is to be made, empty or over its parent; `open`: it is there and a volume's;
   * `filling`: its file is to be made of what doc.source names; `sealing`: nobody writes into it any
   * more, its file is to become immutable; `sealed`: that it is; `failed`: it could not be filled;
   * `deleting`: nobody refers to it, the row goes with the file.
   */
  state: 'making' | 'open' | 'filling' | 'sealing' | 'sealed' | 'failed' | 'deleting'
  size_gib: number
  /** How many layers are under it. */
  depth: number
  created_ms: number
  doc: string
}

export interface SnapshotTable {
  snapshot_id: string
  account_id: string
  size_gib: number
  state: 'pending' | 'completed' | 'error'
  created_ms: number
  doc: string
  /** Its data; while `pending`, the layer that a volume is still writing into, or that is being filled. */
  layer_id: string | null
  /** The volume that it was made of, which may be gone; null for one that was imported or copied from elsewhere. */
  volume_id: string | null
  encrypted: number
  is_public: number
  /** When it went into the recycle bin, and when it leaves it for good; null outside it. */
  binned_ms: number | null
  bin_exit_ms: number | null
}

export interface ImageTable {
  image_id: string
  account_id: string
  name: string
  state: 'pending' | 'available' | 'failed' | 'disabled'
  is_public: number
  architecture: string
  root_device_name: string
  /** Under its root. */
  snapshot_id: string
  created_ms: number
  doc: string
  binned_ms: number | null
  bin_exit_ms: number | null
}

export interface VolumeTable {
  volume_id: string
  account_id: string
  host_id: string
  zone: string
  size_gib: number
  volume_type: string
  /** What it was made of; may be gone. */
  snapshot_id: string | null
  /** EC2's state; `deleting` rows go with their file. */
  state: 'creating' | 'available' | 'in-use' | 'deleting' | 'error'
  /** Whether the agent has seen the file. */
  ready: number
  instance_id: string | null
  device: string | null
  attach_state: 'attaching' | 'attached' | 'detaching' | 'detached' | null
  attached_ms: number | null
  delete_on_termination: number
  created_ms: number
  doc: string
  /** What it writes into. */
  layer_id: string
  /** What it is to write into from some moment soon on; `layer_id` becomes immutable then. */
  next_layer_id: string | null
  /**
   * How that moment is to be: any (`crash`-consistent), with the file systems of the guest frozen
   * where it has an agent (`quiesced`), or while the guest is `down` for a reboot. Null without one.
   */
  freeze: 'crash' | 'quiesced' | 'down' | null
  encrypted: number
  /** Raised by whatever changes what a running machine has of it, and the last one that is in force. */
  revision: number
  synced_revision: number
  binned_ms: number | null
  bin_exit_ms: number | null
}

/** The newest modification of a volume. */
export interface VolumeModificationTable {
  volume_id: string
  account_id: string
  state: 'modifying' | 'optimizing' | 'completed' | 'failed'
  started_ms: number
  ended_ms: number | null
  doc: string
}

export interface ImportTaskTable {
  task_id: string
  account_id: string
  kind: 'image' | 'snapshot'
  host_id: string
  state: 'active' | 'completed' | 'deleting' | 'deleted' | 'error'
  created_ms: number
  doc: string
}

/** A retention rule of the recycle bin; those for instances are Hearth's own, and not seen by Recycle Bin's API. */
export interface RecycleRuleTable {
  rule_id: string
  account_id: string
  resource_type: 'EBS_SNAPSHOT' | 'EC2_IMAGE' | 'EBS_VOLUME' | 'INSTANCE'
  created_ms: number
  doc: string
}
