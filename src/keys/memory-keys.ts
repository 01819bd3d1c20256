import { DATA_KEY_BYTES, KeysError, type Keys } from './keys.ts'

/** Keys of a simulated host, whose disks hold nothing: without a secret, so that they outlive an agent. */
export function createMemoryKeys(): Keys {
  let made = 0
  return {
    async newDataKey(kmsKeyId) {
      const bytes = Buffer.alloc(DATA_KEY_BYTES)
      bytes.write(`${++made} ${kmsKeyId}`)
      const key = bytes.toString('base64')
      return { key, wrapped: `sim/${kmsKeyId}/${key}` }
    },
    async unwrap(kmsKeyId, wrapped) {
      const prefix = `sim/${kmsKeyId}/`
      if (!wrapped.startsWith(prefix)) throw new KeysError(`a data key under ${kmsKeyId} is damaged, or was made under another key`)
      return wrapped.slice(prefix.length)
    },
  }
}
