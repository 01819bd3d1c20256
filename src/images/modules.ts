import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from './run.ts'

/** A kernel module, ready to be loaded. */
export interface KernelModule {
  /** As in modprobe, with underscores: "virtio_blk". */
  name: string
  data: Buffer
}

/** The modules of one kernel as unpacked from its packages. */
export interface ModuleTree {
  /** As `uname -r` says. */
  kernelVersion: string
  /** Name → file. */
  files: Map<string, string>
  /** Names of what is part of the kernel itself. */
  builtin: Set<string>
  /** BusyBox's program, which unpacks .xz modules. */
  busybox: string
}

/** Ends a signed module; before it lie the signature and 12 bytes that end with its length. */
const SIGNATURE_MARK = Buffer.from('~Module signature appended~\n')
const SIGNATURE_TRAILER_BYTES = 12

/** Reads which modules the unpacked kernel has. @throws Error when there is not exactly one kernel. */
export async function openModules(packages: string, busybox: string): Promise<ModuleTree> {
  const root = await moduleRoot(packages)
  const versions = (await readdir(root)).filter((name) => /^\d/.test(name))
  const [kernelVersion] = versions
  if (!kernelVersion || versions.length > 1) throw new Error(`expected one kernel's modules, found ${versions.length}`)
  const folder = path.join(root, kernelVersion)
  const files = new Map<string, string>()
  for (const file of await readdir(folder, { recursive: true })) {
    if (/\.ko(\.xz|\.zst)?$/.test(file)) files.set(moduleName(file), path.join(folder, file))
  }
  const builtinList = await readFile(path.join(folder, 'modules.builtin'), 'utf8')
  const builtin = new Set(builtinList.split('\n').filter(Boolean).map(moduleName))
  return { kernelVersion, files, builtin, busybox }
}

/**
 * The modules to load, in order, for `wanted` to work: each after what it depends on. What is part
 * of the kernel is left out, and so is what `loaded` names.
 *
 * @throws Error for a module that the kernel does not have.
 */
export async function resolveModules(
  tree: ModuleTree,
  wanted: string[],
  loaded: ReadonlySet<string> = new Set(),
): Promise<KernelModule[]> {
  const done = new Set(loaded)
  const order: KernelModule[] = []
  const visit = async (name: string): Promise<void> => {
    if (done.has(name) || tree.builtin.has(name)) return
    done.add(name)
    const file = tree.files.get(name)
    if (!file) throw new Error(`kernel ${tree.kernelVersion} has no module ${name}`)
    const data = withoutSignature(await readModule(tree, file))
    for (const dependency of dependenciesOf(data)) await visit(dependency)
    order.push({ name, data })
  }
  for (const name of wanted) await visit(moduleName(name))
  return order
}

/** What a module's .modinfo section says that it depends on. */
export function dependenciesOf(module: Buffer): string[] {
  const marker = Buffer.from('\0depends=')
  const at = module.indexOf(marker)
  if (at < 0) return []
  const text = module.toString('latin1', at + marker.length, module.indexOf(0, at + marker.length))
  return text.split(',').filter(Boolean).map(moduleName)
}

/**
 * A module without the signature appended to it. Checking it takes RSA and SHA-256 over every byte
 * for each of a dozen modules, 0.2 s of every boot under emulation; the kernel asks for signatures
 * only under Secure Boot, which a BIOS does not have (Documentation/admin-guide/module-signing.rst).
 */
export function withoutSignature(module: Buffer): Buffer {
  const at = module.length - SIGNATURE_MARK.length
  if (at < SIGNATURE_TRAILER_BYTES || !module.subarray(at).equals(SIGNATURE_MARK)) return module
  return module.subarray(0, at - SIGNATURE_TRAILER_BYTES - module.readUInt32BE(at - 4))
}

function moduleName(file: string): string {
  return path.basename(file).replace(/\.ko(\.xz|\.zst)?$/, '').replaceAll('-', '_')
}

/** BusyBox's insmod takes no compressed modules; Debian 13 (.xz) and Ubuntu (.zst) ship them so. */
async function readModule(tree: ModuleTree, file: string): Promise<Buffer> {
  if (file.endsWith('.ko')) return readFile(file)
  const plain = file.replace(/\.(xz|zst)$/, '')
  if (file.endsWith('.xz')) await run(tree.busybox, ['unxz', '-k', '-f', file])
  else await run('zstd', ['-q', '-d', '-f', file, '-o', plain])
  return readFile(plain)
}

async function moduleRoot(packages: string): Promise<string> {
  for (const candidate of ['lib/modules', 'usr/lib/modules']) {
    const folder = path.join(packages, candidate)
    if (await readdir(folder).then((names) => names.length > 0, () => false)) return folder
  }
  throw new Error('the kernel packages hold no modules')
}
