import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { run } from './run.ts'

const SECTOR_BYTES = 512
const MIB_BYTES = 2 ** 20
const MIB_SECTORS = MIB_BYTES / SECTOR_BYTES
/** syslinux-common's boot sector: starts the partition that is marked active. */
const MBR_CODE = ['/usr/lib/syslinux/mbr/mbr.bin', '/usr/lib/SYSLINUX/mbr.bin', '/usr/share/syslinux/mbr.bin']
/** File systems made from one recipe are copies of each other, as those of one AMI are. */
const FILE_SYSTEM_UUID = '68656172-7468-4000-8000-000074696e79'

/** Where the two partitions lie, in sectors of 512 bytes. */
export interface DiskLayout {
  diskSectors: number
  boot: { start: number; count: number }
  root: { start: number; count: number }
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
export function partitionTable(layout: DiskLayout): Buffer {
  const table = Buffer.alloc(66)
  const entry = (index: number, active: boolean, type: number, part: { start: number; count: number }) => {
    const at = index * 16
    // Cylinder, head and sector say "see the sector numbers", as on every large disk.
    table.set([active ? 0x80 : 0, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff], at)
    table.writeUInt32LE(part.start, at + 8)
    table.writeUInt32LE(part.count, at + 12)
  }
  entry(0, false, 0x83, layout.root)
  entry(1, true, 0x0e, layout.boot)
  table.writeUInt16BE(0x55aa, 64)
  return table
}

export interface DiskParts {
  layout: DiskLayout
  /** Name → file, of the boot partition. */
  bootFiles: Record<string, string>
  /** Folder with the content of the root file system. */
  rootTree: string
}

/** Makes a raw, self-booting disk (legacy BIOS) in `disk`. Needs neither mounts nor special rights. */
export async function makeDisk(disk: string, parts: DiskParts): Promise<void> {
  const { layout } = parts
  await writeFile(disk, '')
  const handle = await open(disk, 'r+')
  try {
    await handle.truncate(layout.diskSectors * SECTOR_BYTES)
    await handle.write(await mbrCode(), 0, 440, 0)
    await handle.write(partitionTable(layout), 0, 66, 446)
  } finally {
    await handle.close()
  }
  await makeBootFileSystem(disk, layout, parts.bootFiles)
  await makeRootFileSystem(disk, layout, parts.rootTree)
}

async function mbrCode(): Promise<Buffer> {
  const file = MBR_CODE.find((candidate) => existsSync(candidate))
  if (!file) throw new Error('mbr.bin of syslinux is missing: apt-get install syslinux-common')
  const code = await readFile(file)
  return Buffer.concat([code, Buffer.alloc(440)]).subarray(0, 440)
}

async function makeBootFileSystem(disk: string, layout: DiskLayout, files: Record<string, string>): Promise<void> {
  const offset = layout.boot.start * SECTOR_BYTES
  const image = `${disk}@@${offset}`
  // 4 KiB clusters make it FAT16, whatever the size.
  await run('mformat', [
    '-i', image, '-T', String(layout.boot.count), '-h', '255', '-s', '63', '-H', String(layout.boot.start),
    '-c', '8', '-N', '48454152', '-v', 'BOOT', '::',
  ])
  for (const [name, file] of Object.entries(files)) await run('mcopy', ['-i', image, file, `::${name}`])
  await run('syslinux', ['--install', '--offset', String(offset), disk])
}

async function makeRootFileSystem(disk: string, layout: DiskLayout, tree: string): Promise<void> {
  // Nothing is left for the guest to initialise in the background, where every instance would pay.
  const extended = `offset=${layout.root.start * SECTOR_BYTES},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0`
  await run('mke2fs', [
    '-q', '-F', '-t', 'ext4', '-b', '4096', '-m', '1', '-J', 'size=8', '-L', 'root', '-U', FILE_SYSTEM_UUID,
    '-E', extended, '-d', tree, disk, `${Math.floor((layout.root.count * SECTOR_BYTES) / 1024)}k`,
  ])
  if (process.getuid?.() !== 0) await giveToRoot(disk, layout, tree)
}

/** Files copied by someone who is not root belong to them; in the guest they are root's. */
async function giveToRoot(disk: string, layout: DiskLayout, tree: string): Promise<void> {
  const names = (await readdir(tree, { recursive: true })).map((name) => `/${name}`)
  const commands = ['/', ...names].flatMap((name) => ['uid', 'gid'].map((field) => `sif "${name}" ${field} 0\n`))
  const script = `${disk}.owners`
  await writeFile(script, commands.join(''))
  await run('debugfs', ['-w', '-f', script, `${disk}?offset=${layout.root.start * SECTOR_BYTES}`])
}
