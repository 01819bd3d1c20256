import { chmodSync, chownSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { messageOf } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { FillProgress, FillSource, LayerRef, LayerSpec } from '../driver.ts'
import { foreignFile, readableChain } from './blocks.ts'
import { BYTES_PER_GIB, explained, outOfSpace, publish, sweep, temporaryName } from './files.ts'
import { BadSourceError, checkForeign, complaintOf, copyPlainFile, modeOfPlainFile } from './foreign.ts'
import { readHeader } from './header.ts'
import { makeDisk } from './make.ts'
import { imageOptions, runQemuImg, type Names } from './sandbox.ts'

/** As many at once in this process, for all of its drivers; others wait for their turn. */
const PLACES = 2
/** Whoever converts is a user that nobody else is, neither another agent's nor the other place's: no pid is above 2^22. */
const UID_BASE = 1_690_000_000
/** What a qcow2 file may take beyond its content: tables, and the LUKS header. */
const OVERHEAD_BYTES = 64 * 1024 ** 2

interface Job {
  percent: number
  abort: AbortController
  /** How it ended, but for well: then the file is there. */
  end?: { reason: string } | { error: unknown }
  /** Resolves when nothing of it runs any more. */
  over: Promise<void>
}

/** What fills layers in the background: one job for each. */
export class Fills {
  readonly #log: Logger
  readonly #jobs = new Map<string, Job>()
  #isClosed = false

  constructor(log: Logger) {
    this.#log = log
  }

  /** Begins to make `file`, or tells how far that is. @throws Error why it ended, where another try may end better. */
  progressOf(spec: LayerSpec, source: FillSource, file: string): FillProgress {
    const job = this.#jobs.get(spec.layerId) ?? this.#begin(spec, source, file)
    if (job.end === undefined) return { state: 'running', percent: job.percent }
    if ('reason' in job.end) return { state: 'failed', reason: job.end.reason }
    this.#jobs.delete(spec.layerId)
    throw job.end.error
  }

  /** Resolves when nothing fills the layer; at once when nothing does. */
  async over(layerId: string): Promise<void> {
    await this.#jobs.get(layerId)?.over
  }

  /** Ends what fills the layer, and forgets how it went. */
  async cancel(layerId: string): Promise<void> {
    const job = this.#jobs.get(layerId)
    if (!job) return
    job.abort.abort(new Error(`${layerId} is filled no more`))
    await job.over
    this.#jobs.delete(layerId)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#jobs.keys()].map((layerId) => this.cancel(layerId)))
  }

  #begin(spec: LayerSpec, source: FillSource, file: string): Job {
    if (this.#isClosed) throw new Error('these volumes are closed')
    const job: Job = { percent: 0, abort: new AbortController(), over: Promise.resolve() }
    this.#jobs.set(spec.layerId, job)
    job.over = this.#run(spec, source, file, job).then(
      () => void this.#jobs.delete(spec.layerId),
      (error: unknown) => {
        const { layerId } = spec
        if (!job.abort.signal.aborted) this.#log.warn('could not fill a layer', { layerId, error: messageOf(error) })
        job.end = error instanceof BadSourceError
          ? { reason: error.message } : { error: explained(error, layerId, dirname(file)) }
      },
    )
    return job
  }

  async #run(spec: LayerSpec, source: FillSource, file: string, job: Job): Promise<void> {
    const place = await takePlace(job.abort.signal)
    try {
      const uid = process.getuid?.() === 0 ? UID_BASE + process.pid * PLACES + place : null
      await fill({ spec, source, file, uid, signal: job.abort.signal, onPercent: (percent) => (job.percent = percent) })
      this.#log.info('filled a layer', { layerId: spec.layerId })
    } finally {
      leavePlace(place)
    }
  }
}

/** Of the process and not of a driver: a place goes with a user id, and another driver's converter must not be the same user. */
const freePlaces = Array.from({ length: PLACES }, (_unused, place) => place)
let waiting: ((place: number) => void)[] = []

function takePlace(signal: AbortSignal): Promise<number> {
  const place = freePlaces.pop()
  if (place !== undefined) return Promise.resolve(place)
  return new Promise((resolve, reject) => {
    const takes = (taken: number) => {
      signal.removeEventListener('abort', gives)
      resolve(taken)
    }
    const gives = () => {
      waiting = waiting.filter((each) => each !== takes)
      reject(signal.reason as Error)
    }
    waiting.push(takes)
    signal.addEventListener('abort', gives, { once: true })
  })
}

function leavePlace(place: number): void {
  const next = waiting.shift()
  if (next) next(place)
  else freePlaces.push(place)
}

interface Fill {
  spec: LayerSpec
  source: FillSource
  file: string
  uid: number | null
  signal: AbortSignal
  onPercent: (percent: number) => void
}

/** What qemu-img reads, and how it is called. */
interface Input {
  reads: string[]
  secrets: string[]
  /** As large as what is filled must be at least. */
  sizeBytes: number
  words(names: Names): string
}

async function fill(job: Fill): Promise<void> {
  const { spec, source, file, uid, signal } = job
  signal.throwIfAborted()
  const folder = dirname(file)
  sweep(folder, spec.layerId)
  const [copy, temporary] = [temporaryName(folder, spec.layerId), temporaryName(folder, spec.layerId)]
  const wishedBytes = spec.sizeGib * BYTES_PER_GIB
  try {
    const input = 'chain' in source
      ? chainInput(source.chain) : await foreignInput(source, { uid, mostBytes: wishedBytes, signal, copy })
    const sizeBytes = Math.max(wishedBytes, input.sizeBytes)
    await makeDisk(temporary, { sizeBytes, backing: null, key: spec.key })
    if (uid !== null) chownSync(temporary, uid, uid)
    await convert(job, input, temporary, sizeBytes)
    if (uid !== null) chownSync(temporary, 0, 0)
    chmodSync(temporary, 0o600)
    await publish(temporary, file)
  } finally {
    for (const left of [copy, temporary]) rmSync(left, { force: true })
  }
}

/** @throws Error for a layer that is missing, or that is not immutable: others may not read it. */
function chainInput(chain: LayerRef[]): Input {
  const keys = [...new Set(chain.flatMap(({ key }) => (key === null ? [] : [key])))]
  for (const { layerId, path } of chain) {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (!stat) throw new Error(`the layer ${layerId} is not on this host`)
    if ((stat.mode & 0o222) !== 0) throw new Error(`the layer ${layerId} is not immutable yet`)
  }
  return {
    reads: chain.map(({ path }) => path),
    secrets: keys,
    sizeBytes: Math.max(0, ...chain.slice(0, 1).map(({ path }) => readHeader(path).sizeBytes)),
    words: ({ reads, secrets }) => readableChain(chain.map(({ key }, index) => ({
      file: reads[index] ?? '', secret: key === null ? null : (secrets[keys.indexOf(key)] ?? null),
    }))),
  }
}

async function foreignInput(
  { file, format }: Extract<FillSource, { file: string }>,
  options: { uid: number | null; mostBytes: number; signal: AbortSignal; copy: string },
): Promise<Input> {
  const mode = await modeOfPlainFile(file)
  const isCopied = options.uid !== null && (mode & 0o004) === 0
  if (isCopied) {
    await copyPlainFile(file, options.copy, options.signal)
    if (options.uid !== null) chownSync(options.copy, options.uid, options.uid)
  }
  const readable = isCopied ? options.copy : file
  await checkForeign(readable, format, options)
  return { reads: [readable], secrets: [], sizeBytes: 0, words: ({ reads: [name = ''] }) => foreignFile(name, format) }
}

async function convert(job: Fill, input: Input, temporary: string, sizeBytes: number): Promise<void> {
  const { spec, uid, signal } = job
  const own = spec.key === null ? [] : [spec.key]
  const ended = await runQemuImg({
    uid, signal, isBackground: true, reads: input.reads, writes: temporary, secrets: [...input.secrets, ...own],
    limits: {
      cpuSeconds: 600 + 60 * spec.sizeGib, fileBytes: Math.ceil(sizeBytes * 1.001) + OVERHEAD_BYTES,
    },
    words(names) {
      const secret: Record<string, string> = own.length === 0
        ? {} : { 'encrypt.format': 'luks', 'encrypt.key-secret': names.secrets.at(-1) ?? '' }
      const target = imageOptions({ driver: 'qcow2', 'file.driver': 'file', 'file.filename': names.writes, ...secret })
      // What is new is zeros already.
      return ['convert', '-p', '-n', '--target-is-zero', '--target-image-opts', input.words(names), target]
    },
    onOutput(text) {
      const percent = [...text.matchAll(/\((\d+)(?:\.\d+)?\/100%\)/g)].at(-1)?.[1]
      if (percent !== undefined) job.onPercent(Math.min(99, Number(percent)))
    },
  })
  if (ended.code === 0) return
  if (/No space left on device|Disk quota exceeded/.test(ended.complaint)) throw outOfSpace(spec.layerId, dirname(job.file))
  const why = complaintOf(ended)
  // Ended from outside, by whom nobody knows: tried again. Layers of ours are whole: what ails the disk may pass.
  const isTriedAgain = 'chain' in job.source || (ended.signal !== null && ended.signal !== 'SIGXCPU')
  throw isTriedAgain ? new Error(`${spec.layerId} could not be filled: ${why}`) : new BadSourceError(why)
}
