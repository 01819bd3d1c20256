import { build } from 'esbuild'
import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { packageRoot } from '../../src/core/package-root.ts'
import type { WorkerAnswer, WorkerCall } from './store-worker.ts'

/** Several processes that call handlers on one database. */
export interface StoreWorkers {
  /** One call per process, all at the same moment; answers in the order of the calls. */
  callAll: (calls: Omit<WorkerCall, 'id'>[]) => Promise<WorkerAnswer[]>
  close: () => Promise<void>
}

/** Starts `count` processes on the database: a URL of PostgreSQL, or a file of SQLite. */
export async function startStoreWorkers(database: string, count: number): Promise<StoreWorkers> {
  const script = path.join(packageRoot(), 'dist', 'test', 'store-worker.js')
  await build({
    entryPoints: [path.join(packageRoot(), 'test', 'support', 'store-worker.ts')], outfile: script, bundle: true,
    platform: 'node', target: 'node20', format: 'esm', packages: 'external', logLevel: 'warning',
  })
  const workers = Array.from({ length: count }, () =>
    spawn(process.execPath, [script, database], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }))
  await Promise.all(workers.map((worker) => nextMessage(worker)))
  let lastId = 0
  return {
    callAll: (calls) => Promise.all(calls.map((call, index) => {
      const worker = workers[index]
      if (!worker) throw new Error(`there are ${count} processes only`)
      const answer = nextMessage(worker)
      worker.send({ id: ++lastId, ...call } satisfies WorkerCall)
      return answer as Promise<WorkerAnswer>
    })),
    async close() {
      await Promise.all(workers.map((worker) => new Promise((resolve) => {
        worker.once('exit', resolve)
        worker.disconnect()
      })))
    },
  }
}

function nextMessage(worker: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Error('the process has ended'))
    worker.once('exit', onExit)
    worker.once('message', (message) => {
      worker.off('exit', onExit)
      resolve(message)
    })
  })
}
