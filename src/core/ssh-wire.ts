/** The encoding of SSH's binary messages and key blobs (RFC 4251, section 5). */

/** A uint32. */
export function sshUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A string: its length and its bytes. */
export function sshString(value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([sshUint32(bytes.length), bytes])
}

/** An mpint, from the big-endian bytes of a number that is not negative. */
export function sshMpint(bigEndian: Buffer): Buffer {
  const first = bigEndian.findIndex((byte) => byte !== 0)
  if (first === -1) return sshString('')
  const digits = bigEndian.subarray(first)
  // A set top bit would make the number negative.
  return sshString(digits.readUInt8() < 0x80 ? digits : Buffer.concat([Buffer.alloc(1), digits]))
}

/** The strings that make up a blob; undefined when its lengths do not add up. */
export function readSshStrings(blob: Buffer): Buffer[] | undefined {
  const strings: Buffer[] = []
  let offset = 0
  while (offset < blob.length) {
    if (offset + 4 > blob.length) return undefined
    const end = offset + 4 + blob.readUInt32BE(offset)
    if (end > blob.length) return undefined
    strings.push(blob.subarray(offset + 4, end))
    offset = end
  }
  return strings
}
