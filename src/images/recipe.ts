import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { projectFile } from '../catalogue/project-file.ts'

export type RecipeName = 'tiny'

/** What a person wants to know before they build an image. */
export interface ImageRecipe {
  name: RecipeName
  description: string
  /** How long a build takes, in words. */
  duration: string
  /** Debian packages of this host whose programs the build uses. */
  hostPackages: string[]
}

export const imageRecipes: readonly ImageRecipe[] = [
  {
    name: 'tiny',
    description: "BusyBox, bash, an SSH server and a metadata client on the distribution's own cloud kernel",
    duration: 'about half a minute, most of it the download of the kernel package (30 MB)',
    hostPackages: ['apt', 'dpkg', 'e2fsprogs', 'mtools', 'syslinux', 'syslinux-common', 'qemu-utils'],
  },
]

/** images/<name>/recipe.json. */
export interface Recipe {
  description: string
  /** Size of the disk. */
  sizeGib: number
  /** The user that SSH lets in. */
  user: string
  kernelCommandLine: string
  /** Packages that stand for the newest kernel, best first; the first one known is used. */
  kernels: string[]
  /** Packages to take with the libraries they depend on. */
  packages: string[]
  /** Packages to take without what they depend on. */
  packagesAlone: string[]
  /** Path in the guest → paths in the packages' content, of which the first that exists is taken. */
  programs: Record<string, string[]>
  /** Kernel modules, loaded by the initial RAM disk and by the started system. */
  modules: { initrd: string[]; root: string[] }
}

/** Raised when the builder itself makes something else of an unchanged recipe. */
const BUILDER_VERSION = 1

export interface LoadedRecipe extends Recipe {
  name: RecipeName
  /** Folder with the recipe's files. */
  folder: string
  /** Over every file of the recipe and the builder's version: 16 hexadecimal digits. */
  hash: string
}

/** Reads a recipe. @throws Error when Hearth was installed without it. */
export async function loadRecipe(name: RecipeName): Promise<LoadedRecipe> {
  const file = projectFile(`images/${name}/recipe.json`)
  const folder = path.dirname(file)
  const recipe = JSON.parse(await readFile(file, 'utf8')) as Recipe
  const hash = createHash('sha256').update(`builder ${BUILDER_VERSION}\n`)
  for (const file of await filesBelow(folder)) {
    const content = await readFile(path.join(folder, file))
    hash.update(`${file}\0${content.length}\0`).update(content)
  }
  return { ...recipe, name, folder, hash: hash.digest('hex').slice(0, 16) }
}

/** All files below a folder, relative to it, sorted. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return files.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).toSorted()
}
