// `npm test`: set-up, then every check and every test; ends with the first that fails. Arguments go
// to vitest (npm test -- --project unit).
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { orExplain, setup } from './setup.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const say = (line) => process.stderr.write(`${line}\n`)

const ignore = () => {}

/** Runs a program of node_modules, or a script, to its end; answers its exit code. */
function run(words) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, words, { cwd: root, stdio: 'inherit' })
    // Ctrl-C reaches the child by itself; this process waits for it.
    const pass = (signal) => child.kill(signal)
    process.on('SIGTERM', pass)
    process.on('SIGINT', ignore)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      process.off('SIGTERM', pass)
      process.off('SIGINT', ignore)
      resolve(code ?? (signal === 'SIGINT' ? 130 : 1))
    })
  })
}

await orExplain(() => setup(['--test']))
const coverage = 'scripts/coverage.mjs'
const steps = [
  ['build', ['scripts/build.mjs']],
  ['lint', ['node_modules/oxlint/bin/oxlint']],
  ['types', ['node_modules/typescript/bin/tsc', '--noEmit']],
  ...(existsSync(path.join(root, coverage)) ? [['coverage page', [coverage, '--check']]] : []),
  ['tests', ['node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)]],
]
for (const [name, words] of steps) {
  say(`== ${name}`)
  const code = await run(words)
  if (code !== 0) {
    say(`== ${name} failed`)
    process.exit(code)
  }
}
