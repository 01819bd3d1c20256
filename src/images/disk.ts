import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { run } from './run.ts'

export const SECTOR_BYTES = 512
const MIB_BYTES = 2 ** 20
export const MIB_SECTORS = MIB_BYTES / SECTOR_BYTES
/** syslinux-common's boot sector: starts the partition that is marked active. */
const MBR_CODE = ['/usr/lib/syslinux/mbr/mbr.bin', '/usr/lib/SYSLINUX/mbr.bin', '/usr/share/syslinux/mbr.bin']
/** File systems made from one recipe are copies of each other, as those of one AMI are. */
const FILE_SYSTEM_UUID = '68656172-7468-4000-8000-000074696e79'

/** A part of a disk, in sectors of 512 bytes. */
export interface Extent {
  start: number
  count: number
}

/** Where the two partitions lie. */
export interface DiskLayout {
  diskSectors: number
  boot: Extent
  root: Extent
}

/**
 * A disk of `sizeGib` with a boot partition that has room for files of `bootBytes`, and the root
 * partition behind it: the last one, so that it can grow with the disk.
 */
export function layOut(sizeGib: number, bootBytes: number): DiskLayout {
  const bootMib = Math.ceil(bootBytes / MIB_BYTES) + 4
  const diskSectors = sizeGib * 1024 * MIB_SECTORS
  const rootStart = (1 + bootMib) * MIB_SECTORS
  return {
    diskSectors,
    boot: { start: MIB_SECTORS, count: bootMib * MIB_SECTORS },
    root: { start: rootStart, count: diskSectors - rootStart },
  }
}

/**
 * The partition table of an MBR, 66 bytes with its signature, to be put at byte 446. The root
 * partition is number 1 although it lies behind the boot partition, number 2, which is active.
 */
export function partitionTable(layout: DiskLayout, boot: 'bios' | 'uefi' = 'bios'): Buffer {
  // What UEFI boots from has a type of its own (UEFI specification, 5.2.2).
  const bootPartition = boot === 'uefi' ? { type: 0xef, active: false } : { type: 0x0e, active: true }
  return tableOf([{ ...layout.root, type: 0x83, active: false }, { ...layout.boot, ...bootPartition }])
}

/** The same with one partition, which is active and Linux's. */
export function singlePartitionTable(root: Extent): Buffer {
  return tableOf([{ ...root, type: 0x83, active: true }])
}

function tableOf(entries: (Extent & { type: number; active: boolean })[]): Buffer {
  const table = Buffer.alloc(66)
  entries.forEach(({ start, count, type, active }, index) => {
    const at = index * 16
    // Cylinder, head and sector say "see the sector numbers", as on every large disk.
    table.set([active ? 0x80 : 0, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff], at)
    table.writeUInt32LE(start, at + 8)
    table.writeUInt32LE(count, at + 12)
  })
  table.writeUInt16BE(0x55aa, 64)
  return table
}

/** Name → file, of the boot partition; a name may lead through folders. */
export type BootFiles = Record<string, string>

export interface DiskParts {
  layout: DiskLayout
  boot: 'bios' | 'uefi'
  bootFiles: BootFiles
  /** Folder with the content of the root file system. */
  rootTree: string
}

/** Makes a raw, self-booting disk in `disk`. Needs neither mounts nor special rights. */
export async function makeDisk(disk: string, parts: DiskParts): Promise<void> {
  const { layout, boot } = parts
  const code: [Buffer, number][] = boot === 'bios' ? [[await mbrCode(), 0]] : []
  await writeStart(disk, layout.diskSectors, [...code, [partitionTable(layout, boot), 446]])
  await makeBootFileSystem(disk, layout, parts)
  await makeRootFileSystem(disk, { extent: layout.root, tree: parts.rootTree, uuid: FILE_SYSTEM_UUID, journalMib: 8 })
}

/** Makes an empty raw disk with some bytes at some offsets. */
export async function writeStart(disk: string, sectors: number, pieces: [data: Buffer, offset: number][]): Promise<void> {
  await writeFile(disk, '')
  const handle = await open(disk, 'r+')
  try {
    await handle.truncate(sectors * SECTOR_BYTES)
    for (const [data, offset] of pieces) await handle.write(data, 0, data.length, offset)
  } finally {
    await handle.close()
  }
}

async function mbrCode(): Promise<Buffer> {
  const file = MBR_CODE.find((candidate) => existsSync(candidate))
  if (!file) throw new Error('mbr.bin of syslinux is missing: apt-get install syslinux-common')
  const code = await readFile(file)
  return Buffer.concat([code, Buffer.alloc(440)]).subarray(0, 440)
}

async function makeBootFileSystem(disk: string, layout: DiskLayout, { boot, bootFiles }: DiskParts): Promise<void> {
  const offset = layout.boot.start * SECTOR_BYTES
  const image = `${disk}@@${offset}`
  // 4 KiB clusters make it FAT16, whatever the size.
  await run('mformat', [
    '-i', image, '-T', String(layout.boot.count), '-h', '255', '-s', '63', '-H', String(layout.boot.start),
    '-c', '8', '-N', '48454152', '-v', 'BOOT', '::',
  ])
  const folders = new Set(Object.keys(bootFiles).flatMap((name) => {
    const parts = name.split('/').slice(0, -1)
    return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
  }))
  for (const folder of folders) await run('mmd', ['-i', image, `::${folder}`])
  for (const [name, file] of Object.entries(bootFiles)) await run('mcopy', ['-i', image, file, `::${name}`])
  if (boot === 'bios') await run('syslinux', ['--install', '--offset', String(offset), disk])
}

export interface RootFileSystem {
  extent: Extent
  /** Folder with the content. */
  tree: string
  uuid: string
  journalMib: number
  /** Features of ext4 for mke2fs, where the host's own defaults will not do. */
  features?: string
}

/** Makes the ext4 file system `root` inside `disk`; its files are root's where a user builds. */
export async function makeRootFileSystem(disk: string, root: RootFileSystem): Promise<void> {
  const offset = root.extent.start * SECTOR_BYTES
  // Nothing is left for the guest to initialise in the background, where every instance would pay.
  const extended = `offset=${offset},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0`
  const features = root.features === undefined ? [] : ['-O', root.features]
  await run('mke2fs', [
    '-q', '-F', '-t', 'ext4', ...features, '-b', '4096', '-m', '1', '-J', `size=${root.journalMib}`, '-L', 'root',
    '-U', root.uuid, '-E', extended, '-d', root.tree, disk,
    `${Math.floor((root.extent.count * SECTOR_BYTES) / 1024)}k`,
  ])
  if (process.getuid?.() !== 0) await giveToRoot(disk, offset, root.tree)
}

/** Files copied by someone who is not root belong to them; in the guest they are root's. */
async function giveToRoot(disk: string, offset: number, tree: string): Promise<void> {
  const names = (await readdir(tree, { recursive: true })).map((name) => `/${name}`)
  const commands = ['/', ...names].flatMap((name) => ['uid', 'gid'].map((field) => `sif "${name}" ${field} 0\n`))
  const script = `${disk}.owners`
  await writeFile(script, commands.join(''))
  await run('debugfs', ['-w', '-f', script, `${disk}?offset=${offset}`])
}
