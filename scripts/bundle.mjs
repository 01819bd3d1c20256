import { build } from 'esbuild'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Bundles programs of ours into dist/, each one file; npm packages stay outside. */
export function bundle(entryPoints) {
  return build({
    entryPoints,
    outdir: path.join(root, 'dist'),
    entryNames: '[name]',
    bundle: true,
    splitting: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    sourcemap: true,
    logLevel: 'warning',
  })
}
