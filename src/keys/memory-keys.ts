import type { Keys } from './keys.ts'

/** Keys of a simulated host, whose disks hold nothing: the data key follows from what wraps it. */
export function createMemoryKeys(): Keys {
  const keyOf = (kmsKeyId: string) => Buffer.from(kmsKeyId).toString('base64')
  return {
    newDataKey: async (kmsKeyId) => ({ key: keyOf(kmsKeyId), wrapped: `sim:${kmsKeyId}` }),
    unwrap: async (kmsKeyId) => keyOf(kmsKeyId),
  }
}
