import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { measureReal } from './launch.ts'
import { type BenchOptions, readOptions, USAGE } from './options.ts'
import { exitWith, FAILED, GOAL_MISSED, needRoot, progress } from './program.ts'
import { makeReport, render } from './report.ts'
import { foldersOf, hostNetnsOf, makeScene, removeScene } from './scene.ts'
import { measureSimulated } from './simulated.ts'

// Runs twice: outside, it makes a scene, runs itself inside, and cleans up however that ended;
// inside a network namespace that stands for the host, it measures.

const INSIDE = 'HEARTH_BENCH_ROOT'

async function outside(options: BenchOptions): Promise<number> {
  needRoot('the benchmarks launch real machines, which needs', 'npm run bench')
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  const { root } = await makeScene(options.folder, progress)
  try {
    if (interrupted.signal.aborted) return FAILED
    return await runInside(root, interrupted.signal)
  } finally {
    await removeScene(root)
  }
}

function runInside(root: string, interrupted: AbortSignal): Promise<number> {
  const words = [`--net=/run/netns/${hostNetnsOf(root)}`, '--', process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const child = spawn('nsenter', words, { stdio: 'inherit', env: { ...process.env, [INSIDE]: root } })
  interrupted.addEventListener('abort', () => child.kill('SIGKILL'), { once: true })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? FAILED))
  })
}

async function inside(root: string, options: BenchOptions): Promise<number> {
  const folders = foldersOf(root)
  const real = await measureReal(folders, options, progress, new AbortController().signal)
  if (options.simInstances > 0) progress('the simulated engine')
  const sim = options.simInstances > 0 ? await measureSimulated(folders.sim, options.simInstances) : undefined
  const report = makeReport(real, sim, options.instanceType)
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : render(report))
  return report.goals.every((goal) => goal.isMet) ? 0 : GOAL_MISSED
}

await exitWith(async () => {
  const options = readOptions(process.argv.slice(2))
  const root = process.env[INSIDE]
  if (options) return root === undefined ? outside(options) : inside(root, options)
  process.stdout.write(USAGE)
  return 0
})
// Children, sockets and taps may still be open after a failure; the outer process removes them.
process.exit()
