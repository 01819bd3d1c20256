import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { chmod, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { withBuildLock } from './build-lock.ts'
import { makeDebianDisk } from './debian.ts'
import { imageRecipes, loadRecipe, type LoadedRecipe, type RecipeName } from './recipe.ts'
import { steadyProgress } from './steady-progress.ts'
import { makeTinyDisk } from './tiny.ts'
import { checkTools } from './tools.ts'
import { makeWorkFolder } from './work-folder.ts'

export { imageRecipes, type ImageRecipe, type RecipeName } from './recipe.ts'

/** An image as it lies in <home>/images: a disk file and, beside it, this description as JSON. */
export interface BuiltImage {
  /** Name of the AMI. */
  name: string
  description: string
  recipe: RecipeName
  recipeHash: string
  /** Over the recipe's hash and the packages: the same for what was built twice. Older descriptions lack it. */
  buildHash?: string
  /** The disk, qcow2, read-only; absolute. */
  file: string
  /** SHA-256 of the file, hexadecimal. */
  sha256: string
  /** Size of the disk, and thus of the smallest root volume. */
  sizeGib: number
  architecture: 'x86_64' | 'arm64'
  rootDeviceName: '/dev/xvda'
  bootMode: 'legacy-bios' | 'uefi'
  /** The user that SSH lets in. */
  user: string
  /** What the AMI says of the metadata service it needs. Older descriptions lack it. */
  imdsSupport?: 'v2.0' | null
  /** Name → version of the packages it was made from. */
  packages: Record<string, string>
  builtAtMs: number
}

/** A finished disk in the work folder. */
export interface MadeDisk {
  /** qcow2 without a backing file. */
  file: string
  kernelVersion: string
  /** What boots it, where it is not an x86_64 machine's BIOS. */
  architecture?: 'arm64'
  bootMode?: 'uefi'
  /** Name → version of the packages it was made from. */
  packages: Record<string, string>
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
 * network to find out). May be interrupted at any point and run again. Of several who want the same
 * image one builds it and the others wait.
 *
 * @throws Error that says what is missing on this host, or which step failed.
 */
export async function buildImage(name: RecipeName, options: BuildOptions): Promise<BuiltImage> {
  const recipe = await loadRecipe(name)
  const present = await findBuilt(recipe, options.home)
  if (present && !options.force) return present

  const { clock, log } = options
  for (const each of imageRecipes) if (each.name === name) checkTools(each)
  const folder = path.join(path.resolve(options.home), 'images')
  await mkdir(folder, { recursive: true })
  const progress = steadyProgress(clock, options.progress)
  const onWait = () => progress.say(`another process builds the image ${name}; waiting for it`)
  try {
    return await withBuildLock(path.join(folder, `${name}.lock`), { clock, onWait }, async () => {
      const since = await findBuilt(recipe, options.home)
      return since && (!options.force || since.builtAtMs !== present?.builtAtMs)
        ? since
        : build(recipe, since, { ...options, progress: progress.say })
    })
  } catch (error) {
    log.error('image build failed', { recipe: name, error: messageOf(error) })
    throw new Error(`the image ${name} could not be built: ${messageOf(error)}`, { cause: error })
  } finally {
    progress.end()
  }
}

async function build(recipe: LoadedRecipe, before: BuiltImage | undefined, options: BuildOptions): Promise<BuiltImage> {
  const { clock, log, progress } = options
  const startedMs = clock.now()
  const image = await buildInWorkFolder(recipe, before, options)
  const seconds = ((clock.now() - startedMs) / 1000).toFixed(1)
  progress(`built ${image.name} in ${seconds} s: ${image.file}`)
  log.info('image built', { image: image.name, file: image.file, seconds: Number(seconds) })
  return image
}

async function buildInWorkFolder(
  recipe: LoadedRecipe,
  before: BuiltImage | undefined,
  options: BuildOptions,
): Promise<BuiltImage> {
  const { name, hash } = recipe
  const { home, progress } = options
  const work = await makeWorkFolder(path.join(path.resolve(home), 'tmp'), `image-${name}`)
  try {
    const duration = imageRecipes.find((each) => each.name === name)?.duration ?? ''
    progress(`building the image ${name} (recipe ${hash}): ${duration}`)
    return await publish(recipe, await makeDisk(name, work, progress), before, options)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function makeDisk(name: RecipeName, work: string, progress: (line: string) => void): Promise<MadeDisk> {
  switch (name) {
    case 'tiny':
    case 'tiny-arm64':
      return makeTinyDisk(await loadRecipe(name), work, progress)
    case 'debian-12':
      return makeDebianDisk(await loadRecipe(name), work, progress)
  }
}

async function findBuilt(recipe: LoadedRecipe, home: string): Promise<BuiltImage | undefined> {
  return (await listBuiltImages(home)).find((image) => image.recipe === recipe.name && image.recipeHash === recipe.hash)
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

/**
 * Moves a finished disk into place: description last, since an image without one does not count.
 * What was built of the same packages `before` keeps its name: to the cloud it is the same image.
 */
async function publish(
  recipe: LoadedRecipe,
  made: MadeDisk,
  before: BuiltImage | undefined,
  { home, clock }: BuildOptions,
): Promise<BuiltImage> {
  const folder = path.join(path.resolve(home), 'images')
  const base = path.join(folder, `${recipe.name}-${recipe.hash}`)
  const buildHash = hashOf(recipe, made)
  const image: BuiltImage = {
    name: before?.buildHash === buildHash ? before.name : amiName(recipe.name, buildHash, clock.now()),
    description: `${recipe.description} (${made.kernelVersion})`,
    recipe: recipe.name,
    recipeHash: recipe.hash,
    buildHash,
    file: `${base}.qcow2`,
    sha256: await sha256Of(made.file),
    sizeGib: recipe.sizeGib,
    architecture: made.architecture ?? 'x86_64',
    rootDeviceName: '/dev/xvda',
    bootMode: made.bootMode ?? 'legacy-bios',
    user: recipe.user,
    imdsSupport: recipe.imdsSupport ?? null,
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

/** Tells builds of different packages apart, and takes those of the same packages for the same. */
function hashOf(recipe: LoadedRecipe, made: MadeDisk): string {
  const packages = Object.entries(made.packages).map(([name, version]) => `${name} ${version}\n`).toSorted()
  return createHash('sha256').update(`${recipe.hash}\n${packages.join('')}`).digest('hex').slice(0, 16)
}

/** Debian's own AMIs are named by release and day ("debian-12-amd64-20240507-1740"); so are these. */
function amiName(name: RecipeName, buildHash: string, nowMs: number): string {
  const short = buildHash.slice(0, 8)
  const day = new Date(nowMs).toISOString().slice(0, 10).replaceAll('-', '')
  if (name === 'debian-12') return `hearth-${name}-amd64-${day}-${short}`
  return name === 'tiny' ? `hearth-tiny-${short}-x86_64` : `hearth-tiny-${short}-arm64`
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
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
