import { chmod, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import { debianSources, hostProxies, KEYRING } from './apt-sources.ts'
import type { MadeDisk } from './build.ts'
import { makeRootFileSystem, MIB_SECTORS, SECTOR_BYTES, singlePartitionTable, writeStart } from './disk.ts'
import type { LoadedRecipe } from './recipe.ts'
import { copyRecipeFiles } from './root-tree.ts'
import { run } from './run.ts'

type Recipe = LoadedRecipe<'debian-12'>
type Progress = (line: string) => void

/** What GRUB 2.06 can read, whatever the host's mke2fs would rather make. */
const FEATURES = [
  'none', 'has_journal', 'ext_attr', 'resize_inode', 'dir_index', 'filetype', 'extent', '64bit', 'flex_bg',
  'sparse_super', 'large_file', 'huge_file', 'dir_nlink', 'extra_isize', 'metadata_csum',
].join(',')
const JOURNAL_MIB = 64
/** Boot code in the first sector; the partition table follows. */
const BOOT_CODE_BYTES = 440

/** Makes the disk of a Debian release in `work`, by mmdebstrap. Needs root, but neither mounts on the host nor loop devices. */
export async function makeDebianDisk(recipe: Recipe, work: string, progress: Progress): Promise<MadeDisk> {
  const root = path.join(work, 'root')
  await bootstrap(recipe, { work, root }, progress)
  const packages = await installedPackages(root)
  const kernelVersion = path.basename(await readlink(path.join(root, 'vmlinuz'))).replace('vmlinuz-', '')
  const uuid = `68656172-7468-4000-8000-${recipe.hash.slice(0, 12)}`
  await writeBootFiles(root, recipe, uuid)

  progress(`making a disk of ${recipe.sizeGib} GiB`)
  const raw = path.join(work, 'disk.raw')
  await makeGrubDisk(raw, { root, uuid, sizeGib: recipe.sizeGib })
  progress('packing the disk')
  const file = path.join(work, 'disk.qcow2')
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd', raw, file])
  return { file, kernelVersion, packages }
}

/** Installs the release into the new folder `root`. */
async function bootstrap(recipe: Recipe, { work, root }: { work: string; root: string }, progress: Progress): Promise<void> {
  const overlay = path.join(work, 'overlay')
  for (const folder of [overlay, root]) {
    await mkdir(folder)
    await chmod(folder, 0o755)
  }
  await copyRecipeFiles(path.join(recipe.folder, 'root'), overlay)
  const sources = await debianSources(recipe.suite, work, progress)
  const sourcesFile = path.join(work, 'sources.list')
  if (sources) await writeFile(sourcesFile, sources)
  const aptOptions = path.join(work, 'apt.conf')
  await writeFile(aptOptions, `${await hostProxies()}Acquire::Languages "none";\n`)
  progress('installing packages')
  await mmdebstrap([
    '--mode=root', '--variant=minbase', '--format=directory', '--architectures=amd64',
    `--include=${recipe.packages.join(',')}`,
    `--keyring=${KEYRING}`, `--aptopt=${aptOptions}`,
    // A build that a power cut interrupts is begun anew.
    '--dpkgopt=force-unsafe-io',
    // Before the kernel comes, whose initial RAM disk is made by what is in there.
    '--essential-hook=cp -r --preserve=mode,links "$HEARTH_OVERLAY"/. "$1"/',
    '--customize-hook=chroot "$1" sh <"$HEARTH_FINISH"',
    recipe.suite, root, ...(sources ? [sourcesFile] : []),
  ], { work, environment: { HEARTH_OVERLAY: overlay, HEARTH_FINISH: path.join(recipe.folder, 'finish') } }, progress)
}

/** Runs mmdebstrap so that nothing of it outlives this process, and says its steps. */
async function mmdebstrap(
  words: string[],
  { work, environment }: { work: string; environment: Record<string, string> },
  progress: Progress,
): Promise<void> {
  const problems: string[] = []
  const onLine = (line: string) => {
    const [, kind, text = ''] = /^([IWE]): (.*)$/.exec(line) ?? []
    if (kind === 'I' && !/^(automatically chosen|finding correct|chroot architecture|running --)/.test(text)) progress(text.replace(/\.*$/, ''))
    if (kind !== 'I' && !/^(done|I: |\s*$)/.test(line)) problems.push(line)
  }
  // The end of this process ends the first of these, and that one's end all that are in its namespace.
  const leash = ['--pdeathsig=KILL', '--', 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--', 'mmdebstrap']
  try {
    await run('setpriv', [...leash, ...words], { onLine, env: { TMPDIR: work, ...environment } })
  } catch (error) {
    const said = problems.slice(-12).join('\n')
    throw new Error(said === '' ? messageOf(error) : `mmdebstrap failed:\n${said}`, { cause: error })
  }
}

async function installedPackages(root: string): Promise<Record<string, string>> {
  const text = await run('dpkg-query', [
    `--admindir=${path.join(root, 'var/lib/dpkg')}`, '--show', '--showformat=${Package} ${Version}\\n',
  ])
  return Object.fromEntries(text.trim().split('\n').map((line) => {
    const [name = '', version = ''] = line.split(' ')
    return [name, version] as const
  }))
}

/** What only the builder knows: the file system's id, and the kernel's command line. */
async function writeBootFiles(root: string, recipe: Recipe, uuid: string): Promise<void> {
  const mountOptions = 'rw,discard,errors=remount-ro'
  await writeFile(path.join(root, 'etc/fstab'), `UUID=${uuid} / ext4 ${mountOptions} 0 1\n`)
  await writeFile(path.join(root, 'etc/default/grub'), [
    '# Read by update-grub, which runs with every new kernel.',
    'GRUB_DEFAULT=0', 'GRUB_TIMEOUT=0', 'GRUB_DISTRIBUTOR=Debian', 'GRUB_TERMINAL=console',
    'GRUB_DISABLE_OS_PROBER=true', 'GRUB_DISABLE_RECOVERY=true',
    `GRUB_CMDLINE_LINUX="${recipe.kernelCommandLine}"`, '',
  ].join('\n'))
  // Until then: update-grub cannot run where there is no disk yet.
  await writeFile(path.join(root, 'boot/grub/grub.cfg'), [
    `search --no-floppy --fs-uuid --set=root ${uuid}`,
    `linux /vmlinuz root=UUID=${uuid} ro ${recipe.kernelCommandLine}`,
    'initrd /initrd.img', 'boot', '',
  ].join('\n'))
}

/**
 * Makes a raw disk that boots by GRUB (legacy BIOS): boot sector, GRUB's program in the gap before
 * the first partition, and the root partition up to the end, so that it can grow with the disk.
 */
async function makeGrubDisk(disk: string, parts: { root: string; uuid: string; sizeGib: number }): Promise<void> {
  const bootCode = await readFile(path.join(parts.root, 'usr/lib/grub/i386-pc/boot.img'))
  const coreFile = path.join(parts.root, 'boot/grub/core.img')
  const core = await readFile(coreFile)
  await rm(coreFile)
  if (core.length > (MIB_SECTORS - 1) * SECTOR_BYTES) throw new Error('GRUB does not fit before the first partition')
  const sectors = parts.sizeGib * 1024 * MIB_SECTORS
  const extent = { start: MIB_SECTORS, count: sectors - MIB_SECTORS }
  // Both are made to be put exactly so: the boot sector loads what begins at sector 1.
  const pieces: [Buffer, number][] = [
    [bootCode.subarray(0, BOOT_CODE_BYTES), 0], [singlePartitionTable(extent), 446], [core, SECTOR_BYTES],
  ]
  await writeStart(disk, sectors, pieces)
  for (const name of await readdir(path.join(parts.root, 'dev'))) await rm(path.join(parts.root, 'dev', name), { recursive: true })
  await makeRootFileSystem(disk, { extent, tree: parts.root, uuid: parts.uuid, journalMib: JOURNAL_MIB, features: FEATURES })
}
