import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { build } from 'esbuild'
import { packageRoot } from './package-root.ts'

let folder: string

beforeEach(() => { folder = mkdtempSync(path.join(tmpdir(), 'hearth-root-')) })
afterEach(() => rmSync(folder, { recursive: true }))

/** What packageRoot() answers, or why it does not, when bundled to `file`. */
async function whenBundledTo(file: string): Promise<string> {
  await build({
    stdin: {
      contents: "import { packageRoot } from './src/core/package-root.ts'\n"
        + 'try { console.log(packageRoot()) } catch (error) { console.log(error.message) }',
      resolveDir: packageRoot(),
    },
    outfile: file, bundle: true, platform: 'node', format: 'esm',
  })
  return execFileSync(process.execPath, [file], { encoding: 'utf8' }).trim()
}

it('is found from the source', () => {
  expect(existsSync(path.join(packageRoot(), 'src/core/package-root.ts'))).toBe(true)
  expect(statSync(path.join(packageRoot(), 'package.json')).isFile()).toBe(true)
})

it('is found from a bundle, past the packages of others', async () => {
  writeFileSync(path.join(folder, 'package.json'), '{"name":"hearth"}')
  mkdirSync(path.join(folder, 'dist'))
  writeFileSync(path.join(folder, 'dist/package.json'), '{"name":"other"}')
  expect(await whenBundledTo(path.join(folder, 'dist/bundle.mjs'))).toBe(folder)
})

it('says so when there is none', async () => {
  expect(await whenBundledTo(path.join(folder, 'bundle.mjs'))).toMatch(/is not in a copy of Hearth/)
})
