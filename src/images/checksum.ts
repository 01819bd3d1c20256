import { createHash, type Hash } from 'node:crypto'

/** What a file must be, as its publisher says. */
export interface Checksum {
  algorithm: 'sha256' | 'sha512'
  /** Hexadecimal, lower case. */
  hex: string
}

const DIGITS = { sha256: 64, sha512: 128 } as const
/** A list of checksums is some lines. */
const MOST_LIST_BYTES = 1024 * 1024

/**
 * A checksum as a person gives it: its digits, or the address or file of a list (SHA256SUMS) in which
 * the file is named.
 *
 * @param readList reads such a list.
 * @throws Error that says what is wrong with it.
 */
export async function readChecksum(
  algorithm: Checksum['algorithm'],
  given: string,
  fileName: string,
  readList: (where: string, mostBytes: number) => Promise<string>,
): Promise<Checksum> {
  if (isDigest(algorithm, given)) return { algorithm, hex: given.toLowerCase() }
  if (/^[0-9a-f]*$/i.test(given)) throw new Error(`--${algorithm} has ${DIGITS[algorithm]} digits, not ${given.length}`)
  const hex = findChecksum(algorithm, await readList(given, MOST_LIST_BYTES), fileName)
  if (hex === undefined) throw new Error(`${given} names no ${algorithm} of ${fileName}`)
  return { algorithm, hex }
}

/** The checksum of a file in a list of them: as sha256sum writes it, or as BSD's does. */
export function findChecksum(algorithm: Checksum['algorithm'], list: string, fileName: string): string | undefined {
  for (const line of list.split('\n')) {
    const bsd = /^(\w+) \((.+)\) = ([0-9a-f]+)\s*$/i.exec(line)
    if (bsd && bsd[1]?.toLowerCase() !== algorithm) continue
    const plain = /^([0-9a-f]+)\s+\*?(.+?)\s*$/i.exec(line)
    const [name, digest] = bsd ? [bsd[2], bsd[3]] : [plain?.[2], plain?.[1]]
    if (name?.replace(/^\.\//, '') !== fileName || digest === undefined) continue
    if (isDigest(algorithm, digest)) return digest.toLowerCase()
  }
  return undefined
}

function isDigest(algorithm: Checksum['algorithm'], text: string): boolean {
  return text.length === DIGITS[algorithm] && /^[0-9a-f]+$/i.test(text)
}

/** Sums up a file that goes by; `check` throws when it was another one. */
export function checking(expected: Checksum | null): { add: (chunk: Uint8Array) => void; check: (what: string) => void } {
  if (expected === null) return { add: () => {}, check: () => {} }
  const hash: Hash = createHash(expected.algorithm)
  return {
    add: (chunk) => void hash.update(chunk),
    check(what) {
      const hex = hash.digest('hex')
      if (hex === expected.hex) return
      throw new Error(`${what} is not what it should be: its ${expected.algorithm} is ${hex}, not ${expected.hex}`)
    },
  }
}
