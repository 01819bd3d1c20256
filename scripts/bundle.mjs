import { build } from 'esbuild'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Packages that are bundled: as hundreds of small modules each process would take 15 MB of memory and 0.1 s more for them. */
const BUNDLED = ['kysely']

/** Bundles programs of ours into dist/, each one file; other npm packages stay outside. */
export function bundle(entryPoints) {
  const { dependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  return build({
    entryPoints,
    outdir: path.join(root, 'dist'),
    entryNames: '[name]',
    bundle: true,
    splitting: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    external: Object.keys(dependencies).filter((name) => !BUNDLED.includes(name)).flatMap((name) => [name, `${name}/*`]),
    sourcemap: true,
    logLevel: 'warning',
  })
}
