import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import { run } from './run.ts'
import type { TinyRecipe } from './recipe.ts'

export interface Unpacked {
  /** Folder with the content of all packages. */
  folder: string
  /** Name → version of each. */
  versions: Record<string, string>
}

/**
 * Fetches the recipe's packages through this host's own apt sources and unpacks them into `work`.
 * Nothing is installed on the host, and the host's package lists stay as they are: when they are
 * missing or too old, lists are fetched into `work`. Needs no special rights.
 */
export async function fetchPackages(
  recipe: TinyRecipe,
  work: string,
  progress: (line: string) => void,
): Promise<Unpacked> {
  const debs = path.join(work, 'debs')
  await mkdir(debs)
  const foreign = foreignArchitecture(recipe)
  try {
    // The host's lists are of its own architecture.
    if (foreign !== undefined) throw new Error(`they are not for ${foreign}`)
    await download(new Apt(work, false), recipe, debs, progress)
  } catch (error) {
    progress(`this host's package lists will not do (${messageOf(error).split('\n')[0]}); fetching fresh ones`)
    const apt = new Apt(work, true, foreign)
    await apt.update(progress)
    await download(apt, recipe, debs, progress)
  }
  return unpack(debs, path.join(work, 'packages'), progress)
}

/** Debian's name of the recipe's architecture where that is not the host's. */
function foreignArchitecture({ architecture = 'x86_64' }: TinyRecipe): 'amd64' | 'arm64' | undefined {
  if (architecture === 'arm64') return process.arch === 'arm64' ? undefined : 'arm64'
  return process.arch === 'x64' ? undefined : 'amd64'
}

async function download(apt: Apt, recipe: TinyRecipe, debs: string, progress: (line: string) => void) {
  const kernel = await resolveKernel(apt, recipe.kernels)
  const libraries = await withLibraries(apt, recipe.packages)
  const names = [...new Set([...kernel, ...libraries, ...recipe.packagesAlone])]
  progress(`downloading ${names.length} packages: ${names.join(' ')}`)
  await apt.download(names, debs)
}

async function unpack(debs: string, folder: string, progress: (line: string) => void): Promise<Unpacked> {
  const versions: Record<string, string> = {}
  for (const file of (await readdir(debs)).filter((name) => name.endsWith('.deb')).toSorted()) {
    const deb = path.join(debs, file)
    const [name, version] = (await run('dpkg-deb', ['-W', '--showformat=${Package} ${Version}', deb])).split(' ')
    if (!name || !version) throw new Error(`${file} says no name or version`)
    progress(`unpacking ${name} ${version}`)
    await run('dpkg-deb', ['-x', deb, folder])
    versions[name] = version
  }
  return { folder, versions }
}

/** The packages of the newest kernel: the image and, where they are apart (Ubuntu), its modules. */
async function resolveKernel(apt: Apt, metaPackages: string[]): Promise<string[]> {
  for (const meta of metaPackages) {
    const image = (await apt.dependencies([meta])).find((name) => /^linux-image-(unsigned-)?\d/.test(name))
    if (!image) continue
    const modules = (await apt.dependencies([image])).filter((name) => /^linux-modules-\d/.test(name))
    return [image, ...modules]
  }
  throw new Error(`apt knows none of ${metaPackages.join(', ')}`)
}

/** The packages and, step by step, the libraries that they depend on. */
async function withLibraries(apt: Apt, packages: string[]): Promise<Set<string>> {
  const found = new Set(packages)
  let fresh = packages
  while (fresh.length > 0) {
    const dependencies = new Set(await apt.dependencies(fresh))
    fresh = [...dependencies].filter((name) => /^(lib|zlib)/.test(name) && !found.has(name))
    for (const name of fresh) found.add(name)
  }
  return found
}

/** The few commands of apt that are needed, on the host's lists or on lists of our own. */
class Apt {
  readonly #options: string[]
  readonly #state: string

  constructor(work: string, ownLists: boolean, foreign?: 'amd64' | 'arm64') {
    this.#state = path.join(work, 'apt')
    const own = [
      `Dir::State::lists=${this.#state}/lists`, `Dir::Cache=${this.#state}/cache`,
      // What is installed here is of no matter to another architecture.
      ...(foreign ? [`APT::Architecture=${foreign}`, `APT::Architectures::=${foreign}`, 'Dir::State::status=/dev/null'] : []),
    ]
    // The user that apt downloads as by default could not write into the work folder.
    const options = ['APT::Sandbox::User=root', ...(ownLists ? own : [])]
    this.#options = options.flatMap((option) => ['-o', option])
  }

  async update(progress: (line: string) => void): Promise<void> {
    await mkdir(path.join(this.#state, 'lists/partial'), { recursive: true })
    await mkdir(path.join(this.#state, 'cache/archives/partial'), { recursive: true })
    await run('apt-get', [...this.#options, '-q', 'update'], { onLine: progress })
  }

  /** Names of what the packages depend on directly; none for a package that apt does not know. */
  async dependencies(packages: string[]): Promise<string[]> {
    const known = await this.#known(packages)
    if (known.length === 0) return []
    const text = await run('apt-cache', [...this.#options, 'depends', ...known])
    return [...text.matchAll(/^ +\|?(?:Pre)?Depends: ([a-z0-9][\w.+-]*)/gm)].flatMap((match) => match[1] ?? [])
  }

  async download(packages: string[], folder: string): Promise<void> {
    await run('apt-get', [...this.#options, '-q', 'download', ...packages], { cwd: folder })
  }

  async #known(packages: string[]): Promise<string[]> {
    const text = await run('apt-cache', [...this.#options, 'policy', ...packages])
    const blocks = text.split(/^(?=\S+:$)/m).filter((block) => !/^ +Candidate: \(none\)$/m.test(block))
    return blocks.flatMap((block) => /^(\S+):$/m.exec(block)?.[1] ?? [])
  }
}
