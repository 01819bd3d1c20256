import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Absolute path of something that comes with Hearth ("data/instance-types.json"), found from the
 * sources as well as from the built program.
 *
 * @throws Error when it is not there.
 */
export function projectFile(relativePath: string): string {
  let folder = path.dirname(fileURLToPath(import.meta.url))
  for (;;) {
    const file = path.join(folder, relativePath)
    if (existsSync(file)) return file
    const parent = path.dirname(folder)
    if (parent === folder) throw new Error(`this installation of Hearth is not complete: ${relativePath} is missing`)
    folder = parent
  }
}
