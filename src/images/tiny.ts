import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { MadeDisk } from './build.ts'
import { layOut, makeDisk, type BootFiles } from './disk.ts'
import { openModules, resolveModules } from './modules.ts'
import { fetchPackages } from './packages.ts'
import type { LoadedRecipe } from './recipe.ts'
import { findFile, makeInitrd, makeRootTree } from './root-tree.ts'
import { run } from './run.ts'

const gzipped = promisify(gzip)

/** The tiny image, or a variant of it. */
export type TinyLike = LoadedRecipe<'tiny' | 'tiny-arm64'>

/** Makes the tiny image's disk in `work`. Needs no special rights. */
export async function makeTinyDisk(
  recipe: TinyLike,
  work: string,
  progress: (line: string) => void,
): Promise<MadeDisk> {
  const { folder: packages, versions } = await fetchPackages(recipe, work, progress)
  const busybox = findFile(packages, recipe.programs['usr/bin/busybox'] ?? [])
  const tree = await openModules(packages, busybox)
  const early = await resolveModules(tree, recipe.modules.initrd)
  const late = await resolveModules(tree, recipe.modules.root, new Set(early.map((module) => module.name)))

  progress('making the initial RAM disk and the root file system')
  const boot = path.join(work, 'boot')
  const bootFiles: BootFiles = {
    'vmlinuz': path.join(boot, 'vmlinuz'),
    'initrd.img': path.join(boot, 'initrd.img'),
    ...(recipe.uefi ? {
      [recipe.uefi.name]: findFile(packages, recipe.uefi.loader),
      'loader/loader.conf': path.join(boot, 'loader.conf'),
      'loader/entries/linux.conf': path.join(boot, 'linux.conf'),
    } : { 'syslinux.cfg': path.join(boot, 'syslinux.cfg') }),
  }
  await mkdir(boot)
  const kernel = findFile(packages, [`boot/vmlinuz-${tree.kernelVersion}`, `usr/lib/modules/${tree.kernelVersion}/vmlinuz`])
  await copyFile(kernel, path.join(boot, 'vmlinuz'))
  // Compressed, it is read by the BIOS faster than it is unpacked; beyond gzip nothing is gained.
  await writeFile(path.join(boot, 'initrd.img'), await gzipped(await makeInitrd(recipe, busybox, early)))
  for (const [name, text] of Object.entries(bootConfiguration(recipe))) await writeFile(path.join(boot, name), text)
  const layout = layOut(recipe.sizeGib, await totalBytes(Object.values(bootFiles)))
  const rootTree = path.join(work, 'root')
  const parts = { recipe, packages, modules: late, rootSectors: layout.root.count, versions }
  await makeRootTree(rootTree, parts)

  progress(`making a disk of ${recipe.sizeGib} GiB`)
  const raw = path.join(work, 'disk.raw')
  await makeDisk(raw, { layout, boot: recipe.uefi ? 'uefi' : 'bios', bootFiles, rootTree })
  const file = path.join(work, 'disk.qcow2')
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, file])
  return {
    file, kernelVersion: tree.kernelVersion, packages: versions,
    ...(recipe.architecture === 'arm64' ? { architecture: recipe.architecture } : {}), ...(recipe.uefi ? { bootMode: 'uefi' } : {}),
  }
}

/** What the boot loader reads: syslinux under the BIOS, systemd-boot under UEFI. Neither waits for anybody. */
function bootConfiguration(recipe: TinyLike): Record<string, string> {
  const options = recipe.kernelCommandLine
  if (recipe.uefi) {
    return {
      'loader.conf': 'timeout 0\nconsole-mode keep\n',
      'linux.conf': `title linux\nlinux /vmlinuz\ninitrd /initrd.img\noptions ${options}\n`,
    }
  }
  const entry = `  LINUX /vmlinuz\n  INITRD /initrd.img\n  APPEND ${options}\n`
  return { 'syslinux.cfg': `DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n${entry}` }
}

async function totalBytes(files: string[]): Promise<number> {
  let total = 0
  for (const file of files) total += (await readFile(file)).length
  return total
}
