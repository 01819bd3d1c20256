import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

let found: string | undefined

/**
 * Absolute path of Hearth's own folder: the one whose package.json is named "hearth", at or above
 * this module. The depth differs: src/core/ when run from source, dist/ when bundled.
 *
 * @throws Error when this module does not lie in a copy of Hearth.
 */
export function packageRoot(): string {
  found ??= findPackage('hearth', path.dirname(fileURLToPath(import.meta.url)))
  return found
}

function findPackage(name: string, start: string): string {
  let folder = start
  for (;;) {
    const manifest = path.join(folder, 'package.json')
    if (existsSync(manifest) && nameIn(manifest) === name) return folder
    const parent = path.dirname(folder)
    if (parent === folder) {
      throw new Error(`${start} is not in a copy of Hearth: no package.json named ${name} above it`)
    }
    folder = parent
  }
}

function nameIn(manifest: string): string | undefined {
  const content: unknown = JSON.parse(readFileSync(manifest, 'utf8'))
  if (typeof content !== 'object' || content === null || !('name' in content)) return undefined
  return typeof content.name === 'string' ? content.name : undefined
}
