import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { projectFile } from '../catalogue/project-file.ts'

export type RecipeName = 'tiny' | 'debian-12' | 'tiny-arm64'

/** What a person wants to know before they build an image. */
export interface ImageRecipe {
  name: RecipeName
  description: string
  /** How long a build takes, in words. */
  duration: string
  /** Debian packages of this host whose programs the build uses. */
  hostPackages: string[]
  /** Whether only root can build it. */
  needsRoot: boolean
}

export const imageRecipes: readonly ImageRecipe[] = [
  {
    name: 'tiny',
    description: "BusyBox, bash, an SSH server and a metadata client on the distribution's own cloud kernel",
    duration: 'about half a minute, most of it the download of the kernel package (30 MB)',
    hostPackages: ['apt', 'dpkg', 'e2fsprogs', 'mtools', 'syslinux', 'syslinux-common', 'qemu-utils'],
    needsRoot: false,
  },
  {
    name: 'debian-12',
    description: 'Debian 12 with systemd, cloud-init and OpenSSH; log in as admin',
    duration: 'about two minutes, with a download of 130 MB',
    hostPackages: ['apt', 'dpkg', 'mmdebstrap', 'debian-archive-keyring', 'e2fsprogs', 'qemu-utils'],
    needsRoot: true,
  },
  {
    name: 'tiny-arm64',
    description: 'the tiny image for arm64 instances, which QEMU emulates on other hosts',
    duration: 'about half a minute, with a download of 40 MB',
    hostPackages: ['apt', 'dpkg', 'e2fsprogs', 'mtools', 'qemu-utils', 'qemu-system-arm', 'qemu-efi-aarch64'],
    needsRoot: false,
  },
]

/** What every images/<name>/recipe.json says. */
interface CommonRecipe {
  description: string
  /** Size of the disk. */
  sizeGib: number
  /** The user that SSH lets in. */
  user: string
  kernelCommandLine: string
  /** "v2.0": instances get a metadata service that wants session tokens, unless they ask otherwise. */
  imdsSupport?: 'v2.0'
}

/** images/tiny/recipe.json, and those of its variants. */
export interface TinyRecipe extends CommonRecipe {
  /** The recipe whose files it shares; its own ones unless told otherwise. */
  filesOf?: RecipeName
  /** x86_64 unless told otherwise. */
  architecture?: 'x86_64' | 'arm64'
  /** The terminal of the serial console; ttyS0 unless told otherwise. */
  serialConsole?: string
  /** Boots by UEFI: the boot loader's path in the packages' content, and its name in the boot partition. By the BIOS without. */
  uefi?: { loader: string[]; name: string }
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

/** images/debian-12/recipe.json. */
export interface DebianRecipe extends CommonRecipe {
  /** Code name of the release. */
  suite: string
  /** Packages to install beside the essential ones, with what they depend on. */
  packages: string[]
}

interface Recipes {
  'tiny': TinyRecipe
  'debian-12': DebianRecipe
  'tiny-arm64': TinyRecipe
}

/** Raised when a builder itself makes something else of an unchanged recipe. */
const BUILDER_VERSIONS: Record<RecipeName, number> = { 'tiny': 1, 'debian-12': 1, 'tiny-arm64': 1 }

/** What a recipe's files are, beside what they say. */
interface Loaded<N extends RecipeName> {
  name: N
  /** Folder with the recipe's files. */
  folder: string
  /** Over every file of the recipe and the builder's version: 16 hexadecimal digits. */
  hash: string
}

export type LoadedRecipe<N extends RecipeName = RecipeName> = Recipes[N] & Loaded<N>

/** Reads a recipe. @throws Error when Hearth was installed without it. */
export async function loadRecipe<N extends RecipeName>(name: N): Promise<LoadedRecipe<N>> {
  const file = projectFile(`images/${name}/recipe.json`)
  const recipe = JSON.parse(await readFile(file, 'utf8')) as Recipes[N] & { filesOf?: RecipeName }
  const own = path.dirname(file)
  const folder = recipe.filesOf === undefined ? own : path.dirname(projectFile(`images/${recipe.filesOf}/recipe.json`))
  const hash = createHash('sha256').update(`builder ${BUILDER_VERSIONS[name]}\n`)
  for (const each of new Set([own, folder])) {
    for (const below of await filesBelow(each)) {
      const content = await readFile(path.join(each, below))
      hash.update(`${below}\0${content.length}\0`).update(content)
    }
  }
  return { ...recipe, name, folder, hash: hash.digest('hex').slice(0, 16) }
}

/** All files below a folder, relative to it, sorted. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return files.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).toSorted()
}
