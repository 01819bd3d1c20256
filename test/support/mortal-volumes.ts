import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'
import { systemClock } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import type { FillSource, LayerSpec } from '../../src/volumes/driver.ts'

type Method = 'ensureLayer' | 'ensureFilled' | 'ensureSealed' | 'ensureSize' | 'ensureDeleted' | 'list'
export interface VolumesCall {
  method: Method
  words: unknown[]
}
export type VolumesAnswer = { result?: unknown } | { error: string }

/** The first tries after a death may still meet what the dead process had begun. */
const TRIES = 20

/**
 * Disks of a home in a process of their own that is killed when it is told to, however far it is, and
 * then started anew and asked again, as a reconciler does.
 */
export class MortalVolumes {
  readonly #home: string
  readonly #script: string
  #worker: ChildProcess | undefined
  /** Deaths so far. */
  deaths = 0

  private constructor(home: string, script: string) {
    this.#home = home
    this.#script = script
  }

  static async create(home: string): Promise<MortalVolumes> {
    const script = join(packageRoot(), 'dist', 'test', 'volumes-worker.js')
    await build({
      entryPoints: [join(packageRoot(), 'test', 'support', 'volumes-worker.ts')], outfile: script, bundle: true,
      platform: 'node', target: 'node20', format: 'esm', packages: 'external', logLevel: 'warning',
    })
    return new MortalVolumes(home, script)
  }

  /** Does it, and however often it takes; killed once, that many milliseconds after it was asked, unless null. */
  async call(call: VolumesCall, killAfterMs: number | null = null): Promise<unknown> {
    let failure = ''
    for (let tries = 0; tries < TRIES; tries++) {
      const answer = await this.#ask(call, tries === 0 ? killAfterMs : null)
      if (answer === 'died') continue
      if (!('error' in answer)) return answer.result
      failure = answer.error
      if (killAfterMs === null) break
      await systemClock.sleep(50)
    }
    throw new Error(`${call.method} ${JSON.stringify(call.words)}: ${failure}`)
  }

  /** Fills a layer to the end. */
  async ensureWhole(spec: LayerSpec, source: FillSource, killAfterMs: number | null = null): Promise<void> {
    let killsAfterMs = killAfterMs
    for (;;) {
      const deaths = this.deaths
      const progress = (await this.call({ method: 'ensureFilled', words: [spec, source] }, killsAfterMs)) as { state: string }
      if (this.deaths > deaths) killsAfterMs = null
      if (progress.state === 'done') return
      if (progress.state !== 'running') throw new Error(`${spec.layerId}: ${JSON.stringify(progress)}`)
      await systemClock.sleep(5)
    }
  }

  async close(): Promise<void> {
    await this.#kill()
  }

  async #ask({ method, words }: VolumesCall, killAfterMs: number | null): Promise<VolumesAnswer | 'died'> {
    const worker = this.#worker ??= await this.#start()
    const dead = new Promise<'died'>((resolve) => worker.once('exit', () => resolve('died')))
    const answered = new Promise<VolumesAnswer>((resolve) => worker.once('message', (message) => resolve(message as VolumesAnswer)))
    worker.send({ method, words } satisfies VolumesCall)
    const killer = killAfterMs === null ? undefined : systemClock.after(killAfterMs, () => worker.kill('SIGKILL'))
    const answer = await Promise.race([dead, answered])
    killer?.cancel()
    if (worker.killed) {
      // It may have answered before it died.
      await dead
      this.deaths += 1
      this.#worker = undefined
    }
    worker.removeAllListeners('exit').removeAllListeners('message')
    return answer
  }

  async #start(): Promise<ChildProcess> {
    const worker = fork(this.#script, [this.#home])
    await new Promise((resolve, reject) => worker.once('message', resolve).once('exit', () => reject(new Error('the process of the disks ends'))))
    worker.removeAllListeners('exit')
    return worker
  }

  /** The process's own id, for what looks at its children; starts it when it is not there. */
  async pid(): Promise<number> {
    this.#worker ??= await this.#start()
    return this.#worker.pid ?? 0
  }

  async #kill(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    if (!worker) return
    await new Promise((resolve) => {
      worker.once('exit', resolve)
      worker.kill('SIGKILL')
    })
  }
}
