import { chmod, copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { cpioArchive, type CpioEntry } from './cpio.ts'
import { elfNeeds } from './elf.ts'
import type { KernelModule } from './modules.ts'
import { filesBelow } from './recipe.ts'
import type { TinyLike } from './tiny.ts'

/** Folders of the guest with their modes, whatever the umask of whoever builds; outer ones first. */
const FOLDERS: Record<string, number> = {
  dev: 0o755, proc: 0o755, sys: 0o755, run: 0o755, mnt: 0o755, home: 0o755, root: 0o700, 'root/.ssh': 0o700,
  tmp: 0o1777, var: 0o755, 'var/tmp': 0o1777, 'var/log': 0o755, 'var/lib': 0o755, 'var/lib/hearth': 0o755,
  etc: 0o755, 'etc/dropbear': 0o700, usr: 0o755, 'usr/bin': 0o755, 'usr/lib': 0o755, 'usr/lib/modules': 0o755,
}

/** One place for programs and one for libraries, under every name that scripts and loaders use. */
const LINKS: Record<string, string> = {
  bin: 'usr/bin', sbin: 'usr/bin', 'usr/sbin': 'bin', lib: 'usr/lib', lib64: 'usr/lib',
  'var/run': '../run',
}

/** How Debian names the architecture in folders of libraries, of which packages have one or two. */
const TRIPLETS = { x86_64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }

function tripletOf(recipe: TinyLike): string {
  return TRIPLETS[recipe.architecture ?? 'x86_64']
}

export interface GuestParts {
  recipe: TinyLike
  /** Folder with the content of all packages. */
  packages: string
  /** To be loaded by the started system, in order. */
  modules: KernelModule[]
  /** Size of the root partition, in sectors of 512 bytes. */
  rootSectors: number
  /** Name → version of the packages it was made from. */
  versions: Record<string, string>
}

/** Lays out the guest's root file system in `root`, a folder that does not exist yet. */
export async function makeRootTree(root: string, parts: GuestParts): Promise<void> {
  await mkdir(root)
  await chmod(root, 0o755)
  for (const [folder, mode] of Object.entries(FOLDERS)) {
    await mkdir(path.join(root, folder))
    await chmod(path.join(root, folder), mode)
  }
  for (const [link, target] of Object.entries(LINKS)) await symlink(target, path.join(root, link))
  await symlink('.', path.join(root, 'usr/lib', tripletOf(parts.recipe)))
  await copyPrograms(root, parts)
  await copyRecipeFiles(path.join(parts.recipe.folder, 'root'), root)
  await nameConsole(path.join(root, 'etc/inittab'), parts.recipe)
  await writeModules(path.join(root, 'usr/lib/modules'), parts.modules)
  await writeFile(path.join(root, 'var/lib/hearth/root-sectors'), `${parts.rootSectors}\n`)
  const packages = Object.entries(parts.versions).map(([name, version]) => `${name} ${version}\n`)
  await writeFile(path.join(root, 'var/lib/hearth/packages'), packages.join(''))
}

/** The initial RAM disk: BusyBox, the recipe's init and the modules. */
export async function makeInitrd(recipe: TinyLike, busybox: string, modules: KernelModule[]): Promise<Buffer> {
  const folders = ['bin', 'dev', 'proc', 'sys', 'root', 'modules']
  return cpioArchive([
    ...folders.map((name): CpioEntry => ({ name, kind: 'folder', mode: 0o755 })),
    file('bin/busybox', 0o755, await readFile(busybox)),
    file('init', 0o755, await readFile(path.join(recipe.folder, 'initrd/init'))),
    file('modules/order', 0o644, orderOf(modules)),
    ...modules.map((module) => file(`modules/${fileOf(module)}`, 0o644, module.data)),
  ])
}

function file(name: string, mode: number, data: Buffer): CpioEntry {
  return { name, kind: 'file', mode, data }
}

async function copyPrograms(root: string, { recipe, packages }: GuestParts): Promise<void> {
  const libraries = new Set<string>()
  for (const [destination, candidates] of Object.entries(recipe.programs)) {
    await copyElf(findFile(packages, candidates), path.join(root, destination), 0o755, libraries)
  }
  // A set grows while it is walked: libraries of libraries are visited too.
  for (const library of libraries) {
    const source = findFile(packages, ['lib', 'usr/lib'].map((folder) => `${folder}/${tripletOf(recipe)}/${library}`))
    await copyElf(source, path.join(root, 'usr/lib', library), 0o755, libraries)
  }
  for (const command of busyboxCommands(await readFile(path.join(root, 'usr/bin/busybox')))) {
    const link = path.join(root, 'usr/bin', command)
    if (!existsSync(link)) await symlink('busybox', link)
  }
}

/** The shell of the serial console, on the terminal that this architecture has. */
async function nameConsole(file: string, { serialConsole = 'ttyS0' }: TinyLike): Promise<void> {
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll('ttyS0', serialConsole))
}

/**
 * The commands that a BusyBox has, as `busybox --list` says; read from the program, which may be for
 * another processor than this one: they are a table of strings in order, from "[" on.
 */
export function busyboxCommands(program: Buffer): string[] {
  const start = program.indexOf('\0[\0[[\0')
  if (start < 0) throw new Error('this BusyBox has no table of commands')
  const names: string[] = []
  for (let at = start + 1; ;) {
    const end = program.indexOf(0, at)
    const name = program.toString('latin1', at, end)
    if (!/^[\w[.+-]+$/.test(name)) return names
    names.push(name)
    at = end + 1
  }
}

/** Copies a program or library and notes what it needs. */
async function copyElf(source: string, destination: string, mode: number, libraries: Set<string>): Promise<void> {
  const needs = elfNeeds(await readFile(source))
  for (const library of needs.libraries) libraries.add(library)
  if (needs.interpreter) libraries.add(path.basename(needs.interpreter))
  await copyFile(source, destination)
  await chmod(destination, mode)
}

/**
 * Copies a recipe's own files; those that start with #! become programs. Folders are open to read,
 * whatever the umask of whoever builds, but for those that `FOLDERS` made.
 */
export async function copyRecipeFiles(from: string, root: string): Promise<void> {
  for (const file of await filesBelow(from)) {
    const data = await readFile(path.join(from, file))
    const destination = path.join(root, file)
    await mkdir(path.dirname(destination), { recursive: true })
    await writeFile(destination, data)
    const isProgram = data.toString('latin1', 0, 2) === '#!'
    await chmod(destination, isProgram ? 0o755 : file === 'etc/shadow' ? 0o600 : 0o644)
  }
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const folder = path.relative(from, path.join(entry.parentPath, entry.name))
    await chmod(path.join(root, folder), FOLDERS[folder] ?? 0o755)
  }
}

async function writeModules(folder: string, modules: KernelModule[]): Promise<void> {
  for (const module of modules) await writeFile(path.join(folder, fileOf(module)), module.data)
  await writeFile(path.join(folder, 'order'), orderOf(modules))
}

function fileOf(module: KernelModule): string {
  return `${module.name}.ko`
}

function orderOf(modules: KernelModule[]): Buffer {
  return Buffer.from(modules.map((module) => `${fileOf(module)}\n`).join(''))
}

/** The first of `candidates` that exists below `folder`, absolute. @throws Error that names them. */
export function findFile(folder: string, candidates: string[]): string {
  const found = candidates.map((candidate) => path.join(folder, candidate)).find((file) => existsSync(file))
  if (!found) throw new Error(`none of the packages has ${candidates.join(' or ')}`)
  return found
}
