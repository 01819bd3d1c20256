import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { layOut, makeDisk } from './disk.ts'
import { openModules, resolveModules } from './modules.ts'
import { fetchPackages } from './packages.ts'
import { loadRecipe, type LoadedRecipe, type RecipeName } from './recipe.ts'
import { findFile, makeInitrd, makeRootTree } from './root-tree.ts'
import { run } from './run.ts'
import { checkTools } from './tools.ts'
import { makeWorkFolder } from './work-folder.ts'

export { imageRecipes, type ImageRecipe, type RecipeName } from './recipe.ts'

const gzipped = promisify(gzip)

/** An image as it lies in <home>/images: a disk file and, beside it, this description as JSON. */
export interface BuiltImage {
  /** Name of the AMI. */
  name: string
  description: string
  recipe: RecipeName
  recipeHash: string
  /** The disk, qcow2, read-only; absolute. */
  file: string
  /** SHA-256 of the file, hexadecimal. */
  sha256: string
  /** Size of the disk, and thus of the smallest root volume. */
  sizeGib: number
  architecture: 'x86_64'
  rootDeviceName: '/dev/xvda'
  bootMode: 'legacy-bios'
  /** The user that SSH lets in. */
  user: string
  /** Name → version of the packages it was made from. */
  packages: Record<string, string>
  builtAtMs: number
}

export interface BuildOptions {
  /** Hearth's folder; the image goes to <home>/images, work to <home>/tmp. */
  home: string
  clock: Clock
  log: Logger
  /** Called with a line for people at every step. */
  progress: (line: string) => void
  /** Builds again although the image is there. */
  force?: boolean
}

/**
 * Builds an image by its recipe, unless the recipe's present form was built before (which needs no
 * network to find out). May be interrupted at any point and run again, also by several processes.
 *
 * @throws Error that says what is missing on this host, or which step failed.
 */
export async function buildImage(name: RecipeName, options: BuildOptions): Promise<BuiltImage> {
  const recipe = await loadRecipe(name)
  const built = (await listBuiltImages(options.home)).find((image) => image.recipeHash === recipe.hash)
  if (built && !options.force) return built

  const { clock, log, progress } = options
  checkTools()
  const startedMs = clock.now()
  const work = await makeWorkFolder(path.join(path.resolve(options.home), 'tmp'), `image-${name}`)
  try {
    progress(`building the image ${name} (recipe ${recipe.hash})`)
    const made = await makeQcow2(recipe, work, progress)
    const image = await publish(recipe, made, options)
    const seconds = ((clock.now() - startedMs) / 1000).toFixed(1)
    progress(`built ${image.name} in ${seconds} s: ${image.file}`)
    log.info('image built', { image: image.name, file: image.file, seconds: Number(seconds) })
    return image
  } catch (error) {
    log.error('image build failed', { recipe: name, error: messageOf(error) })
    throw new Error(`the image ${name} could not be built: ${messageOf(error)}`, { cause: error })
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** The images in <home>/images whose disk is there, newest first. */
export async function listBuiltImages(home: string): Promise<BuiltImage[]> {
  const folder = path.join(path.resolve(home), 'images')
  const names = await readdir(folder).catch(() => [])
  const images: BuiltImage[] = []
  for (const name of names.filter((candidate) => candidate.endsWith('.json'))) {
    const text = await readFile(path.join(folder, name), 'utf8')
    // The disk is named relative to its folder, so that a home can be moved.
    const image = JSON.parse(text) as BuiltImage
    const file = path.join(folder, path.basename(image.file))
    if (existsSync(file)) images.push({ ...image, file })
  }
  return images.toSorted((a, b) => b.builtAtMs - a.builtAtMs)
}

interface MadeDisk {
  file: string
  kernelVersion: string
  packages: Record<string, string>
}

async function makeQcow2(recipe: LoadedRecipe, work: string, progress: (line: string) => void): Promise<MadeDisk> {
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

function syslinuxConfiguration(recipe: LoadedRecipe): string {
  const entry = `  LINUX /vmlinuz\n  INITRD /initrd.img\n  APPEND ${recipe.kernelCommandLine}\n`
  return `DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n${entry}`
}

/** Moves a finished disk into place: description last, since an image without one does not count. */
async function publish(recipe: LoadedRecipe, made: MadeDisk, { home, clock }: BuildOptions): Promise<BuiltImage> {
  const folder = path.join(path.resolve(home), 'images')
  await mkdir(folder, { recursive: true })
  const base = path.join(folder, `${recipe.name}-${recipe.hash}`)
  const image: BuiltImage = {
    name: `hearth-${recipe.name}-${recipe.hash.slice(0, 8)}-x86_64`,
    description: `${recipe.description} (${made.kernelVersion})`,
    recipe: recipe.name,
    recipeHash: recipe.hash,
    file: `${base}.qcow2`,
    sha256: await sha256Of(made.file),
    sizeGib: recipe.sizeGib,
    architecture: 'x86_64',
    rootDeviceName: '/dev/xvda',
    bootMode: 'legacy-bios',
    user: recipe.user,
    packages: made.packages,
    builtAtMs: clock.now(),
  }
  const description = `${made.file}.json`
  await writeFile(description, `${JSON.stringify({ ...image, file: path.basename(image.file) }, null, 2)}\n`)
  await chmod(made.file, 0o444)
  await flush(made.file)
  await flush(description)
  await rm(`${base}.json`, { force: true })
  await rename(made.file, image.file)
  await rename(description, `${base}.json`)
  await flush(folder)
  return image
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

async function totalBytes(files: string[]): Promise<number> {
  let total = 0
  for (const file of files) total += (await readFile(file)).length
  return total
}

/** Waits until a file or folder is on the disk for good. */
async function flush(file: string): Promise<void> {
  const handle = await open(file, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
