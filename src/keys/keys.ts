/** Makes data keys for layers and keeps them readable only with the key of an account under which they were made. */
export interface Keys {
  /**
   * A new data key, under the key `kmsKeyId` (id of a row of `kms_keys`). `key` is what a layer is
   * encrypted by (LayerSpec.key) and is written nowhere; `wrapped` is what is kept beside the layer.
   */
  newDataKey(kmsKeyId: string): Promise<DataKey>
  /**
   * The data key that `newDataKey` wrapped under the same `kmsKeyId`.
   *
   * @throws KeysError when it cannot be had: another master key, another `kmsKeyId`, or damage.
   */
  unwrap(kmsKeyId: string, wrapped: string): Promise<string>
}

export interface DataKey {
  /** 32 random bytes, base64. */
  key: string
  wrapped: string
}

/** A data key that cannot be had; no retry mends it, a person may. */
export class KeysError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'KeysError'
  }
}

export const DATA_KEY_BYTES = 32
