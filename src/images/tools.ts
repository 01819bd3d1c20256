import { existsSync } from 'node:fs'
import path from 'node:path'
import type { ImageRecipe } from './recipe.ts'

/** Debian package → what of it a build uses: programs, or files by absolute path. */
const NEEDED: Record<string, string[]> = {
  'apt': ['apt-get', 'apt-cache', 'apt-config'],
  'dpkg': ['dpkg-deb', 'dpkg-query'],
  'e2fsprogs': ['mke2fs', 'debugfs'],
  'mtools': ['mformat', 'mcopy'],
  'syslinux': ['syslinux'],
  'qemu-utils': ['qemu-img'],
  'qemu-system-arm': ['qemu-system-aarch64'],
  'qemu-efi-aarch64': ['/usr/share/AAVMF/AAVMF_CODE.fd'],
  'mmdebstrap': ['mmdebstrap'],
  'debian-archive-keyring': ['/usr/share/keyrings/debian-archive-keyring.gpg'],
}

/**
 * Makes sure that what a build uses is there before it starts.
 *
 * @throws Error that names what to install, or who may build.
 */
export function checkTools(recipe: ImageRecipe): void {
  if (recipe.needsRoot && process.getuid?.() !== 0) {
    throw new Error(`only root can build the image ${recipe.name}: run the same with sudo`)
  }
  const missing = recipe.hostPackages
    .map((name) => ({ name, files: (NEEDED[name] ?? []).filter((file) => !isThere(file)) }))
    .filter((each) => each.files.length > 0)
  if (missing.length === 0) return
  const remedy = `install them with: apt-get install ${missing.map((each) => each.name).join(' ')}`
  throw new Error(`the image ${recipe.name} cannot be built without ${missing.flatMap((each) => each.files).join(', ')}; ${remedy}`)
}

function isThere(file: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/bin', '/sbin', '/bin']
  return path.isAbsolute(file) ? existsSync(file) : folders.some((folder) => existsSync(path.join(folder, file)))
}
