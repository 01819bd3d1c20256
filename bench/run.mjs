// `npm run bench`: build, then the benchmarks with the arguments given. `npm run bench -- api` is the
// one that compares the API with moto's server, `-- network` the one of VPCs, `-- disks` the one of disks,
// `-- lifecycle` the one of hibernation, `-- spot` the one of the spot market. See docs/performance.md.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from '../scripts/bundle.mjs'
import '../scripts/build.mjs'

const PROGRAMS = {
  api: { 'bench-api': 'bench/api/main.ts', 'bench-client': 'bench/api/client.ts' },
  disks: { 'bench-disks': 'bench/disks/main.ts' },
  lifecycle: { 'bench-lifecycle': 'bench/lifecycle/main.ts' },
  network: { 'bench-network': 'bench/network/main.ts', 'bench-network-peer': 'bench/network/peer.ts' },
  spot: { 'bench-spot': 'bench/spot/main.ts' },
}
const name = process.argv[2] ?? ''
const isNamed = Object.hasOwn(PROGRAMS, name)
const sources = isNamed ? PROGRAMS[name] : { bench: 'bench/main.ts' }
const words = process.argv.slice(isNamed ? 3 : 2)
await bundle(Object.fromEntries(Object.entries(sources).map(([entry, file]) => [entry, path.join(root, file)])))
const program = path.join(root, 'dist', isNamed ? `bench-${name}.js` : 'bench.js')
const child = spawn(process.execPath, [program, ...words], { stdio: 'inherit' })
// Ctrl-C reaches the child by itself, which cleans up; this process waits for it.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('close', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)))
