// `npm run bench`: build, then dist/bench.js with the arguments given. See docs/benchmarks.md.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from '../scripts/bundle.mjs'
import '../scripts/build.mjs'

await bundle({ bench: path.join(root, 'bench/main.ts') })
const child = spawn(process.execPath, [path.join(root, 'dist/bench.js'), ...process.argv.slice(2)], { stdio: 'inherit' })
// Ctrl-C reaches the child by itself, which cleans up; this process waits for it.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('close', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)))
