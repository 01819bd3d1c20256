import type { Random } from '../core/random.ts'
import { DATA_KEY_BYTES, KeysError, type Keys } from './keys.ts'

/** Keys of a simulated host: without a secret, so that they outlive an agent and replay from a seed. */
export function createSimKeys(random: Random): Keys {
  return {
    async newDataKey(kmsKeyId) {
      const key = random.bytes(DATA_KEY_BYTES).toString('base64')
      return { key, wrapped: `sim/${kmsKeyId}/${key}` }
    },
    async unwrap(kmsKeyId, wrapped) {
      const prefix = `sim/${kmsKeyId}/`
      if (!wrapped.startsWith(prefix)) throw new KeysError(`a data key under ${kmsKeyId} is damaged, or was made under another key`)
      return wrapped.slice(prefix.length)
    },
  }
}
