/** A file of an archive. Names are relative and use slashes; folders precede what is in them. */
export type CpioEntry =
  | { name: string; kind: 'folder'; mode: number }
  | { name: string; kind: 'file'; mode: number; data: Buffer }

const TYPE_BITS = { folder: 0o040000, file: 0o100000 }

/**
 * A cpio archive in the "newc" format, as the kernel unpacks it at boot
 * (Documentation/driver-api/early-userspace/buffer-format.rst). All entries belong to root and
 * carry no time, so that equal content makes equal bytes.
 */
export function cpioArchive(entries: CpioEntry[]): Buffer {
  const parts = entries.map((entry, index) => {
    const data = entry.kind === 'file' ? entry.data : Buffer.alloc(0)
    return record(entry.name, index + 1, TYPE_BITS[entry.kind] | entry.mode, data)
  })
  return Buffer.concat([...parts, record('TRAILER!!!', 0, 0, Buffer.alloc(0))])
}

function record(name: string, inode: number, mode: number, data: Buffer): Buffer {
  const encodedName = Buffer.from(`${name}\0`)
  // inode, mode, uid, gid, links, mtime, size, device ×2, special device ×2, name length, checksum
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, encodedName.length, 0]
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
  return Buffer.concat([padded(Buffer.concat([header, encodedName])), padded(data)])
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)])
}
