import { existsSync } from 'node:fs'
import path from 'node:path'

/** Program → Debian package that has it. */
const TOOLS: Record<string, string> = {
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  mformat: 'mtools',
  mcopy: 'mtools',
  syslinux: 'syslinux',
  'qemu-img': 'qemu-utils',
}

/**
 * Makes sure that the programs of a build are there before it starts.
 *
 * @throws Error that names what to install.
 */
export function checkTools(): void {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/bin', '/sbin', '/bin']
  const missing = Object.keys(TOOLS).filter((tool) => !folders.some((folder) => existsSync(path.join(folder, tool))))
  if (missing.length === 0) return
  const packages = new Set(missing.map((tool) => TOOLS[tool]))
  const remedy = `install them with: apt-get install ${[...packages].join(' ')}`
  throw new Error(`images cannot be built without ${missing.join(', ')}; ${remedy}`)
}
