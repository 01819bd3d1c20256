/**
 * Disks as QEMU's block drivers know them, said in full: which file, which format, which key and what is
 * under it. What a file says of itself about other files is never followed.
 */

/** A layer as something to read. */
interface ReadableLayer {
  file: string
  /** Id of the secret object with its key; null for a plain one. */
  secret: string | null
}

interface Block {
  driver: string
  file: { driver: 'file'; filename: string; locking: 'off' | 'auto' }
  encrypt?: { format: 'luks'; 'key-secret': string }
  backing?: Block | null
}

/** What a chain of layers shows, from the top, to be read only. */
export function readableChain(layers: ReadableLayer[]): string {
  let below: Block | null = null
  for (const { file, secret } of layers.toReversed()) below = { ...layerBlock(file, secret, 'off'), backing: below }
  return `json:${JSON.stringify(below)}`
}

/** A layer on its own, to be changed; QEMU refuses when a machine has it open. */
export function writableLayer(file: string, secret: string | null): string {
  return `json:${JSON.stringify({ ...layerBlock(file, secret, 'auto'), backing: null })}`
}

/** A disk file from elsewhere, to be read only; on a driver that can have no backing file none is refused. */
export function foreignFile(file: string, format: string): string {
  const block: Block = { driver: format, file: { driver: 'file', filename: file, locking: 'off' } }
  return `json:${JSON.stringify(format === 'raw' ? block : { ...block, backing: null })}`
}

// Layers that are only read change no more, whoever else has them open: nothing is to be locked.
function layerBlock(file: string, secret: string | null, locking: 'off' | 'auto'): Block {
  return {
    driver: 'qcow2', file: { driver: 'file', filename: file, locking },
    ...(secret === null ? {} : { encrypt: { format: 'luks', 'key-secret': secret } as const }),
  }
}
