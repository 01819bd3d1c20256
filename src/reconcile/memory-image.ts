import type { MemoryImage } from '../hypervisor/driver.ts'
import type { Keys } from '../keys/keys.ts'
import type { SavedMemory } from '../model/instance.ts'
import { memoryBinding } from '../model/memory.ts'
import type { InstanceTable } from '../store/schema.ts'

/** Saved memory as a driver reads and writes it, with its key. @throws KeysError when that cannot be had. */
export async function memoryImage(
  { keys }: { keys: Pick<Keys, 'unwrap'> },
  row: InstanceTable,
  memory: SavedMemory,
  volumeIds: readonly string[],
): Promise<MemoryImage> {
  return {
    memoryId: memory.memoryId, key: await keys.unwrap(memory.kmsKeyId, memory.wrappedKey),
    binding: memoryBinding(row, memory, volumeIds),
  }
}
