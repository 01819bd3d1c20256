/** Makes and unwraps the keys that layers are encrypted by. */
export interface Keys {
  /** A new data key (base64), and the same wrapped under a KMS key: only that is ever stored. */
  newDataKey(kmsKeyId: string): Promise<{ key: string; wrapped: string }>
  /** The data key (base64) of what newDataKey wrapped. @throws Error when it was not wrapped by this home's keys. */
  unwrap(kmsKeyId: string, wrapped: string): Promise<string>
}
