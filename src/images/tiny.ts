import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { MadeDisk } from './build.ts'
import { layOut, makeDisk } from './disk.ts'
import { openModules, resolveModules } from './modules.ts'
import { fetchPackages } from './packages.ts'
import type { LoadedRecipe } from './recipe.ts'
import { findFile, makeInitrd, makeRootTree } from './root-tree.ts'
import { run } from './run.ts'

const gzipped = promisify(gzip)

/** Makes the tiny image's disk in `work`. Needs no special rights. */
export async function makeTinyDisk(
  recipe: LoadedRecipe<'tiny'>,
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
  const bootFiles = {
    'vmlinuz': path.join(boot, 'vmlinuz'),
    'initrd.img': path.join(boot, 'initrd.img'),
    'syslinux.cfg': path.join(boot, 'syslinux.cfg'),
  }
  await mkdir(boot)
  const kernel = findFile(packages, [`boot/vmlinuz-${tree.kernelVersion}`, `usr/lib/modules/${tree.kernelVersion}/vmlinuz`])
  await copyFile(kernel, bootFiles.vmlinuz)
  // Compressed, it is read by the BIOS faster than it is unpacked; beyond gzip nothing is gained.
  await writeFile(bootFiles['initrd.img'], await gzipped(await makeInitrd(recipe, busybox, early)))
  await writeFile(bootFiles['syslinux.cfg'], syslinuxConfiguration(recipe))
  const layout = layOut(recipe.sizeGib, await totalBytes(Object.values(bootFiles)))
  const rootTree = path.join(work, 'root')
  const parts = { recipe, packages, modules: late, rootSectors: layout.root.count, versions }
  await makeRootTree(rootTree, parts)

  progress(`making a disk of ${recipe.sizeGib} GiB`)
  const raw = path.join(work, 'disk.raw')
  await makeDisk(raw, { layout, bootFiles, rootTree })
  const file = path.join(work, 'disk.qcow2')
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, file])
  return { file, kernelVersion: tree.kernelVersion, packages: versions }
}

function syslinuxConfiguration(recipe: LoadedRecipe<'tiny'>): string {
  const entry = `  LINUX /vmlinuz\n  INITRD /initrd.img\n  APPEND ${recipe.kernelCommandLine}\n`
  return `DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n${entry}`
}

async function totalBytes(files: string[]): Promise<number> {
  let total = 0
  for (const file of files) total += (await readFile(file)).length
  return total
}
