import { DiskFormatError } from './bounded-file.ts'

interface Mark {
  bytes: string
  at: number
  says: string
}

const unpack = (what: string, how: string) => `it is compressed (${what}); unpack it first: ${how}`
const convert = (what: string) => `it is ${what}; convert it first: qemu-img convert -O qcow2`

/** Beginnings of files that are no disks as they are, and what to do with them. */
const MARKS: readonly Mark[] = [
  { at: 0, bytes: '\xfd7zXZ\0', says: unpack('xz', 'xz -d FILE') },
  { at: 0, bytes: '\x1f\x8b', says: unpack('gzip', 'gzip -d FILE, and tar -xf where it is a .tar.gz') },
  { at: 0, bytes: 'BZh', says: unpack('bzip2', 'bzip2 -d FILE') },
  { at: 0, bytes: '\x28\xb5\x2f\xfd', says: unpack('zstd', 'zstd -d FILE') },
  { at: 0, bytes: '\x04\x22\x4d\x18', says: unpack('lz4', 'lz4 -d FILE') },
  { at: 0, bytes: '7z\xbc\xaf\x27\x1c', says: unpack('7-Zip', '7z x FILE') },
  { at: 0, bytes: 'PK\x03\x04', says: unpack('zip', 'unzip FILE') },
  { at: 257, bytes: 'ustar', says: 'it is an archive (tar, OVA); take the disk out of it: tar -xf FILE' },
  { at: 0, bytes: 'QED\0', says: convert('a QED disk') },
  { at: 0x40, bytes: '\x7f\x10\xda\xbe', says: convert('a VDI disk of VirtualBox') },
  { at: 0, bytes: 'WithoutFreeSpace', says: convert('a Parallels disk') },
  { at: 0, bytes: 'WithouFreSpacExt', says: convert('a Parallels disk') },
  { at: 0, bytes: 'LUKS\xba\xbe', says: 'it is encrypted (LUKS); decrypt it with whatever made it' },
]
const DMG_TRAILER = 'koly'

/** @throws DiskFormatError for compressed files, archives, web pages and disks of formats that are not read here. */
export function refuseOthers(head: Buffer, end: Buffer): void {
  for (const { bytes, at, says } of MARKS) {
    if (head.subarray(at, at + bytes.length).toString('latin1') === bytes) throw new DiskFormatError(says)
  }
  if (end.subarray(0, DMG_TRAILER.length).toString('latin1') === DMG_TRAILER) throw new DiskFormatError(convert('a DMG disk'))
  if (/^\s*(<!doctype html|<html|<\?xml)/i.test(head.subarray(0, 256).toString('latin1'))) {
    throw new DiskFormatError('it is a web page or XML, not a disk; look at what the address really answers')
  }
}
