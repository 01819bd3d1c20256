import { dirname, relative } from 'node:path'
import { BlockGraph } from './block-graph.ts'
import { clearAway } from './clear-away.ts'
import type { Execute } from './devices.ts'
import { QmpError } from './qmp.ts'

/** What becomes of a chain of layers; see Hypervisor.ensureShortened. */
export type Shortening = { state: 'running'; percent: number } | { state: 'done' | 'absent' }

interface Job {
  id: string
  status: string
  'current-progress': number
  'total-progress': number
  error?: string
}

const jobId = (volumeId: string): string => `shorten-${volumeId}`

/**
 * See Hypervisor.ensureShortened. The job belongs to QEMU and is found there by its name.
 *
 * @throws Error when there is no such layer in the disk, or with what made the job fail; the next call
 * begins it anew, and what it had done stays done.
 */
export async function ensureShortened(execute: Execute, volumeId: string, baseId: string | null): Promise<Shortening> {
  const job = await jobOf(execute, volumeId)
  if (job && job.status !== 'concluded') {
    return { state: 'running', percent: Math.floor((100 * job['current-progress']) / Math.max(1, job['total-progress'])) }
  }
  if (job) await execute('job-dismiss', { id: job.id })
  if (job?.error !== undefined) throw new Error(`${volumeId}: bringing its layers together failed: ${job.error}`)
  const graph = await BlockGraph.read(execute)
  const disk = graph.diskOf(volumeId)
  if (!disk) return { state: 'absent' }
  const position = baseId === null ? disk.layers.length : disk.layers.indexOf(baseId)
  if (position < 1) throw new Error(`${volumeId}: ${baseId} is not under its top layer`)
  if (position === 1) {
    // The files of the layers that are not needed any more may be open still.
    await clearAway(execute)
    return { state: 'done' }
  }
  const [top = ''] = disk.nodes
  const base = disk.nodes[position]
  // As the file itself is to name it: relative to its own place, so that a home may be moved.
  const toBase = base === undefined ? {} : {
    'base-node': base, 'backing-file': relative(dirname(graph.fileOf(top)), graph.fileOf(base)),
  }
  await execute('block-stream', { 'job-id': jobId(volumeId), device: top, ...toBase, 'auto-dismiss': false })
  return { state: 'running', percent: 0 }
}

/** Ends the job, if there is one; layers that are together by then stay so. */
export async function cancelShortening(execute: Execute, volumeId: string): Promise<void> {
  for (let job = await jobOf(execute, volumeId); job; job = await jobOf(execute, volumeId)) {
    await execute(job.status === 'concluded' ? 'job-dismiss' : 'job-cancel', { id: job.id }).catch((error: unknown) => {
      // It ended by itself, or is just ending.
      if (!(error instanceof QmpError)) throw error
    })
  }
}

async function jobOf(execute: Execute, volumeId: string): Promise<Job | undefined> {
  return ((await execute('query-jobs')) as Job[]).find(({ id }) => id === jobId(volumeId))
}
