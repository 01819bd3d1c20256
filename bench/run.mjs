// `npm run bench`: build, then the benchmarks with the arguments given. `npm run bench -- api` is the
// one that compares the API with moto's server. See docs/performance.md.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from '../scripts/bundle.mjs'
import '../scripts/build.mjs'

const isApi = process.argv[2] === 'api'
const words = process.argv.slice(isApi ? 3 : 2)
await bundle(isApi
  ? { 'bench-api': path.join(root, 'bench/api/main.ts'), 'bench-client': path.join(root, 'bench/api/client.ts') }
  : { bench: path.join(root, 'bench/main.ts') })
const program = path.join(root, 'dist', isApi ? 'bench-api.js' : 'bench.js')
const child = spawn(process.execPath, [program, ...words], { stdio: 'inherit' })
// Ctrl-C reaches the child by itself, which cleans up; this process waits for it.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('close', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)))
