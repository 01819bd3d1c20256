import { randomBytes } from 'node:crypto'

/** Randomness, injected: the system's in production, seeded in the simulator. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  /** Uniform integer in [0, maxExclusive). */
  int(maxExclusive: number): number
  bytes(count: number): Buffer
}

/** Bytes drawn from the system at once: a call costs more than the bytes. */
const POOL_BYTES = 4096

let pool = Buffer.alloc(0)

function systemBytes(count: number): Buffer {
  if (count > POOL_BYTES / 4) return randomBytes(count)
  if (pool.length < count) pool = randomBytes(POOL_BYTES)
  // A copy: the pool must not stay behind what may be kept for long, and no byte is given twice.
  const bytes = Buffer.from(pool.subarray(0, count))
  pool.fill(0, 0, count)
  pool = pool.subarray(count)
  return bytes
}

/** The system's cryptographic randomness. */
export const systemRandom: Random = {
  next: () => systemBytes(6).readUIntBE(0, 6) / 2 ** 48,
  int: (maxExclusive) => Math.floor(systemRandom.next() * maxExclusive),
  bytes: systemBytes,
}

/** A reproducible generator (splitmix32) for tests and the simulator; never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed | 0
  const next = () => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z ^= z >>> 15
    z = Math.imul(z, 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32
  }
  const int = (maxExclusive: number) => Math.floor(next() * maxExclusive)
  return { next, int, bytes: (count) => Buffer.from(Array.from({ length: count }, () => int(256))) }
}

/** One element of a non-empty list. */
export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[random.int(items.length)]
  if (item === undefined) throw new Error('pick from an empty list')
  return item
}
