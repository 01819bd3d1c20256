import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BoundedFile, DiskFormatError, MOST_BYTES_READ } from './bounded-file.ts'
import { inspectDisk, inspectDiskFile, isSameFile } from './inspect.ts'

const MIB = 1024 ** 2
const SIZE_BYTES = 8 * MIB
let folder: string
const at = (name: string) => path.join(folder, name)
const qemuImg = (...words: string[]) => execFileSync('qemu-img', words, { stdio: 'pipe' })

/** Each is the same disk of 8 MiB. */
const KINDS: Record<string, { format: string; words: string[] }> = {
  'plain.qcow2': { format: 'qcow2', words: ['-O', 'qcow2'] },
  'old.qcow2': { format: 'qcow2', words: ['-O', 'qcow2', '-o', 'compat=0.10'] },
  'compressed.qcow2': { format: 'qcow2', words: ['-O', 'qcow2', '-c', '-o', 'compression_type=zstd'] },
  'subclusters.qcow2': { format: 'qcow2', words: ['-O', 'qcow2', '-o', 'extended_l2=on,cluster_size=128k'] },
  'small-clusters.qcow2': { format: 'qcow2', words: ['-O', 'qcow2', '-o', 'cluster_size=512,refcount_bits=1'] },
  'sparse.vmdk': { format: 'vmdk', words: ['-O', 'vmdk'] },
  'stream.vmdk': { format: 'vmdk', words: ['-O', 'vmdk', '-o', 'subformat=streamOptimized'] },
  'dynamic.vhd': { format: 'vpc', words: ['-O', 'vpc', '-o', 'force_size=on'] },
  'fixed.vhd': { format: 'vpc', words: ['-O', 'vpc', '-o', 'subformat=fixed,force_size=on'] },
  'dynamic.vhdx': { format: 'vhdx', words: ['-O', 'vhdx', '-o', 'block_size=1M'] },
  'fixed.vhdx': { format: 'vhdx', words: ['-O', 'vhdx', '-o', 'subformat=fixed,block_size=1M'] },
  'disk.raw': { format: 'raw', words: ['-O', 'raw'] },
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-formats-'))
  const disk = Buffer.alloc(SIZE_BYTES)
  // Data at the beginning, in the middle and at the very end, which compresses badly.
  for (const start of [0, 3 * MIB, SIZE_BYTES - MIB]) {
    for (let offset = 0, state = start + 1; offset < MIB; offset += 4) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      disk.writeUInt32LE(state, start + offset)
    }
  }
  disk.writeUInt16LE(0xaa55, 510)
  writeFileSync(at('source'), disk)
  for (const [name, { words }] of Object.entries(KINDS)) qemuImg('convert', '-f', 'raw', ...words, at('source'), at(name))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const complaint = (name: string) => inspectDiskFile(at(name)).then(
  (found) => `none: ${JSON.stringify(found)}`,
  (error: unknown) => {
    if (error instanceof DiskFormatError) return error.message
    throw error
  })

/** A copy of a file, changed. */
function variant(name: string, change: (bytes: Buffer) => Buffer | void): string {
  const bytes = readFileSync(at(name))
  const made = `variant-${name}`
  writeFileSync(at(made), change(bytes) ?? bytes)
  return made
}

describe('disk files', () => {
  it.each(Object.keys(KINDS))('%s is known, and of the size that QEMU says', async (name) => {
    const found = await inspectDiskFile(at(name))
    const { format } = KINDS[name] ?? { format: '' }
    const seen = JSON.parse(String(qemuImg('info', '-f', format, '--output=json', at(name)))) as { 'virtual-size': number }
    expect(found).toMatchObject({ path: at(name), format, virtualSizeBytes: seen['virtual-size'] })
    expect(found.identity.sizeBytes).toBe(readFileSync(at(name)).length)
  })

  // Without its end a VHD of fixed size is the same as a raw disk: whoever asks for a VHD is told.
  it.each(Object.keys(KINDS).filter((name) => name !== 'disk.raw' && name !== 'fixed.vhd'))('%s is refused when it was cut anywhere', async (name) => {
    const { length } = readFileSync(at(name))
    // A cut within the last piece is for the converter to find; VHDX and VHD files have room left at their end.
    for (const part of [0.01, 0.3, 0.6, 0.85]) {
      const cut = variant(name, (bytes) => bytes.subarray(0, Math.floor(length * part)))
      expect(await complaint(cut), `${name} cut to ${part}`).toMatch(/truncated|damaged|no known format/)
    }
  })

  it('are told apart by when they were changed', async () => {
    const before = await inspectDiskFile(at('disk.raw'))
    const copy = variant('disk.raw', () => undefined)
    expect(isSameFile(before.identity, (await inspectDiskFile(at('disk.raw'))).identity)).toBe(true)
    expect(isSameFile(before.identity, (await inspectDiskFile(at(copy))).identity)).toBe(false)
  })

  it('that are none are refused: links, folders, devices, pipes, and what is not there', async () => {
    symlinkSync(at('disk.raw'), at('link'))
    mkdirSync(at('folder'))
    execFileSync('mkfifo', [at('pipe')])
    writeFileSync(at('empty'), '')
    expect(await complaint('link')).toContain('is a symbolic link')
    expect(await complaint('folder')).toContain('not a plain file')
    expect(await complaint('pipe')).toContain('not a plain file')
    expect(await complaint('../../dev/null')).toContain('not a plain file')
    expect(await complaint('absent')).toContain('there is no file')
    expect(await complaint('disk.raw/below')).toContain('there is no file')
    expect(await complaint('nul\0')).toContain('not the name of a file')
    expect(await complaint('empty')).toContain('it is empty')
  })

  it.each([
    ['xz', '\xfd7zXZ\0', 'xz -d'], ['gzip', '\x1f\x8b\x08', 'gzip -d'], ['zip', 'PK\x03\x04', 'unzip'],
    ['zstd', '\x28\xb5\x2f\xfd', 'zstd -d'], ['bzip2', 'BZh9', 'bzip2 -d'], ['a web page', '\n<!DOCTYPE html>', 'web page'],
    ['a tar archive', `${'\0'.repeat(257)}ustar`, 'tar -xf'], ['a VDI disk', `${'\0'.repeat(64)}\x7f\x10\xda\xbe`, 'VDI'],
    ['a VMDK descriptor', '# Disk DescriptorFile\nversion=1\n', 'VMDK descriptor'],
    ['a VMDK descriptor after a comment', '\n# mine\n#DISK DescriptorFile\nversion=1\n', 'VMDK descriptor'],
    ['half of a sector', 'x', 'no known format'],
  ])('that are %s are refused with what to do', async (_what, beginning, advice) => {
    writeFileSync(at('other'), Buffer.concat([Buffer.from(beginning, 'latin1'), Buffer.alloc(1000)]))
    expect(await complaint('other')).toContain(advice)
  })
})

describe('a hostile qcow2', () => {
  const cases: [string, (bytes: Buffer) => Buffer | void, RegExp][] = [
    ['names a backing file', (bytes) => {
      bytes.writeBigUInt64BE(1000n, 8)
      bytes.writeUInt32BE(11, 16)
      bytes.write('/etc/shadow', 1000)
    }, /backing file/],
    ['has only the length of a backing file', (bytes) => void bytes.writeUInt32BE(11, 16), /backing file/],
    ['has its data elsewhere', (bytes) => void bytes.writeBigUInt64BE(4n, 72), /in another file/],
    ['names a data file without saying that it has one', (bytes) => {
      bytes.writeUInt32BE(0x44415441, 112)
      bytes.writeUInt32BE(11, 116)
      bytes.write('/etc/shadow', 120)
    }, /in another file/],
    ['says that its data file is raw', (bytes) => void bytes.writeBigUInt64BE(2n, 88), /in another file/],
    ['needs what nobody knows', (bytes) => void bytes.writeBigUInt64BE(1n << 40n, 72), /features that are not known/],
    ['is corrupt', (bytes) => void bytes.writeBigUInt64BE(2n, 72), /corrupt/],
    ['is encrypted', (bytes) => void bytes.writeUInt32BE(2, 32), /encrypted/],
    ['is of another version', (bytes) => void bytes.writeUInt32BE(4, 4), /version 4/],
    ['has absurd clusters', (bytes) => void bytes.writeUInt32BE(63, 20), /clusters of 2\^63/],
    ['has absurd reference counts', (bytes) => void bytes.writeUInt32BE(7, 96), /reference counts/],
    ['is larger than its tables', (bytes) => void bytes.writeBigUInt64BE(2n ** 45n, 24), /too small for the size/],
    ['is larger than numbers', (bytes) => void bytes.writeBigUInt64BE(2n ** 63n, 24), /makes no sense/],
    ['has an endless L1 table', (bytes) => void bytes.writeUInt32BE(0xffff_ffff, 36), /L1 table .* makes no sense/],
    ['has its L1 table beyond its end', (bytes) => void bytes.writeBigUInt64BE(2n ** 40n, 40), /L1 table: it is truncated/],
    ['has its L1 table between clusters', (bytes) => void bytes.writeBigUInt64BE(1n, 40), /where nothing can be/],
    ['has endless reference counts', (bytes) => void bytes.writeUInt32BE(0xffff_ffff, 56), /reference counts of .* makes no sense/],
    ['has its reference counts beyond its end', (bytes) => void bytes.writeBigUInt64BE(2n ** 40n, 48), /truncated/],
    ['has endless snapshots', (bytes) => void bytes.writeUInt32BE(0xffff_ffff, 60), /internal snapshots/],
    ['has its snapshots beyond its end', (bytes) => {
      bytes.writeUInt32BE(2, 60)
      bytes.writeBigUInt64BE(2n ** 40n, 64)
    }, /internal snapshots: it is truncated/],
    ['has an absurd header', (bytes) => void bytes.writeUInt32BE(2 ** 31, 100), /header of/],
    ['has an extension without end', (bytes) => void bytes.writeUInt32BE(0x7fff_ffff, 116), /extension/],
    ['is compressed as nobody can', (bytes) => void bytes.writeUInt8(9, 104), /compressed in a way/],
    ['has only a beginning', (bytes) => bytes.subarray(0, 100), /truncated/],
  ]
  it.each(cases)('that %s is refused', async (_what, change, words) => {
    expect(await complaint(variant('plain.qcow2', change))).toMatch(words)
  })

  it('of more than 64 TiB is refused, and one of 64 TiB is not', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', at('vast.qcow2'), '64T')
    expect(await inspectDiskFile(at('vast.qcow2'))).toMatchObject({ virtualSizeBytes: 64 * 1024 ** 4 })
    qemuImg('create', '-q', '-f', 'qcow2', at('vaster.qcow2'), String(64 * 1024 ** 4 + 65_536))
    expect(await complaint('vaster.qcow2')).toMatch(/65 TiB, and volumes have at most 64/)
  })

  it('that QEMU itself made over others is refused', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', '-b', at('disk.raw'), '-F', 'raw', at('overlay.qcow2'))
    qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`, at('split.qcow2'), '1M')
    expect(await complaint('overlay.qcow2')).toContain('backing file')
    expect(await complaint('split.qcow2')).toContain('in another file')
  })
})

describe('a hostile disk of another program', () => {
  const replaceText = (bytes: Buffer, from: string, to: string) => {
    const place = bytes.indexOf(from, 0, 'latin1')
    expect(place).toBeGreaterThan(0)
    bytes.write(to, place, 'latin1')
  }
  const cases: [string, string, (bytes: Buffer) => Buffer | void, RegExp][] = [
    ['a VMDK over a parent', 'sparse.vmdk', (bytes) => replaceText(bytes, 'createType', 'parentFileNameHint="/etc/shadow"\n#'), /parent/],
    ['a VMDK with the id of a parent', 'sparse.vmdk', (bytes) => replaceText(bytes, 'parentCID=ffffffff', 'parentCID=12345678'), /parent/],
    ['a VMDK that is a descriptor inside', 'sparse.vmdk', (bytes) => void bytes.writeBigUInt64LE(0n, 12), /descriptor, which only names/],
    ['one of several files of a VMDK', 'sparse.vmdk', (bytes) => void bytes.writeBigUInt64LE(0n, 28), /several files/],
    ['a VMDK of several files', 'sparse.vmdk', (bytes) => replaceText(bytes, '"monolithicSparse"', '"monolithicFlat"  '), /several files/],
    ['a VMDK with absurd grains', 'sparse.vmdk', (bytes) => void bytes.writeBigUInt64LE(2n ** 40n, 20), /grains/],
    ['a VMDK with absurd tables', 'sparse.vmdk', (bytes) => void bytes.writeUInt32LE(2 ** 31, 44), /grain tables/],
    ['a VMDK with its directory beyond its end', 'sparse.vmdk', (bytes) => void bytes.writeBigUInt64LE(2n ** 40n, 56), /truncated/],
    ['an endless VMDK', 'sparse.vmdk', (bytes) => void bytes.writeBigUInt64LE(2n ** 43n, 12), /larger than QEMU reads/],
    ['a VMDK stream without an end', 'stream.vmdk', (bytes) => {
      bytes.writeBigUInt64LE(2n ** 64n - 1n, 56)
      return Buffer.concat([bytes.subarray(0, -1536), Buffer.alloc(1536)])
    }, /end is missing/],
    ['a differencing VHD', 'dynamic.vhd', (bytes) => void bytes.writeUInt32BE(4, 60), /parent/],
    ['a VHD whose checksum is wrong', 'dynamic.vhd', (bytes) => void bytes.writeUInt8(7, 48), /checksum/],
    ['a VHD whose table is elsewhere', 'dynamic.vhd', (bytes) => void bytes.writeUInt8(7, 512 + 17), /checksum/],
    ['a VHD without a header', 'dynamic.vhd', (bytes) => void bytes.write('nonsense', 512), /header is damaged/],
    ['a VHDX over a parent', 'dynamic.vhdx', (bytes) => {
      const place = bytes.indexOf(Buffer.from('3767a1ca36fa434db3b633f0aa44e76b', 'hex'))
      const metadata = bytes.indexOf('metadata', 0, 'latin1')
      bytes.writeUInt32LE(2, metadata + bytes.readUInt32LE(place + 16) + 4)
    }, /parent/],
    ['a VHDX with the locator of a parent', 'dynamic.vhdx', (bytes) => {
      const place = bytes.indexOf(Buffer.from('ab12cabee6b22345', 'hex'))
      expect(place).toBeGreaterThan(0)
      Buffer.from('2d5fd3a80bb34d45abf7d3d84834ab0c', 'hex').copy(bytes, place)
    }, /parent/],
    ['a VHDX without regions', 'dynamic.vhdx', (bytes) => void bytes.write('none', 192 * 1024), /regions is damaged/],
    ['a VHDX with its tables beyond its end', 'dynamic.vhdx', (bytes) => void bytes.writeBigUInt64LE(2n ** 40n, 192 * 1024 + 32), /truncated/],
  ]
  it.each(cases)('%s is refused', async (_what, name, change, words) => {
    expect(await complaint(variant(name, change))).toMatch(words)
  })

  it('a VMDK whose text QEMU would read elsewhere than its header says is refused', async () => {
    const moved = variant('sparse.vmdk', (bytes) => {
      const own = Buffer.from(bytes.subarray(512, 1024))
      bytes.write('parentFileNameHint="/etc/shadow"', 600, 'latin1')
      bytes.writeBigUInt64LE(BigInt(bytes.length / 512), 28)
      bytes.writeBigUInt64LE(1n, 36)
      return Buffer.concat([bytes, own])
    })
    expect(await complaint(moved)).toMatch(/parent/)
  })
})

it('a raw disk that is all holes is as large as its file', async () => {
  writeFileSync(at('sparse.raw'), '')
  truncateSync(at('sparse.raw'), 1024 ** 4)
  expect(await inspectDiskFile(at('sparse.raw'))).toMatchObject({ format: 'raw', virtualSizeBytes: 1024 ** 4 })
})

describe('whatever is done to the headers of a disk', () => {
  /** Counts what is read, and pretends to be a file of any size by answering zeros. */
  const inspectBytes = async (bytes: Buffer, size: number) => {
    let read = 0
    const handle = {
      async read(into: Buffer, offset: number, length: number, position: number) {
        read += length
        into.fill(0, offset, offset + length)
        bytes.subarray(position, position + length).copy(into, offset)
        return { bytesRead: length, buffer: into }
      },
    }
    const file = new BoundedFile(handle as unknown as ConstructorParameters<typeof BoundedFile>[0], size)
    const outcome = await inspectDisk(file).then(
      () => 'known', (error: unknown) => (error instanceof DiskFormatError ? 'refused' : `${(error as Error).stack}`))
    return { outcome, read }
  }

  it.each(['plain.qcow2', 'small-clusters.qcow2', 'sparse.vmdk', 'stream.vmdk', 'dynamic.vhd', 'dynamic.vhdx'])(
    '%s is known or refused, and little of it is read', async (name) => {
      const original = readFileSync(at(name))
      const isVhdx = name.endsWith('.vhdx')
      // Where headers are: a change elsewhere would mostly be of data.
      const starts = isVhdx ? [192 * 1024, original.indexOf('metadata', 0, 'latin1')] : [0, Math.max(0, original.length - 1536)]
      const mutation = fc.record({
        start: fc.constantFrom(...starts), offset: fc.nat(isVhdx ? 400 : 1200),
        value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)), length: fc.integer({ min: 1, max: 8 }),
      })
      await fc.assert(fc.asyncProperty(
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        fc.oneof(fc.constant(original.length), fc.nat(original.length), fc.constant(2 ** 40)),
        async (mutations, size) => {
          const bytes = Buffer.from(original)
          for (const { start, offset, value, length } of mutations) bytes.fill(value, start + offset, Math.min(bytes.length, start + offset + length))
          const { outcome, read } = await inspectBytes(bytes, size)
          expect(outcome).toMatch(/^(known|refused)$/)
          expect(read).toBeLessThanOrEqual(MOST_BYTES_READ)
        }), { numRuns: 150 })
    })
})
