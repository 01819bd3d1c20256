import type { Execute } from './devices.ts'
import { QmpError } from './qmp.ts'

/** A job as QEMU tells of it; of those here each makes a disk of fewer layers. */
export interface Job {
  id: string
  status: string
  'current-progress': number
  'total-progress': number
  error?: string
}

const JOB = 'shorten-'

export function jobId(volumeId: string): string {
  return `${JOB}${volumeId}`
}

/** The job on that volume's disk; undefined when there is none. */
export async function jobOf(execute: Execute, volumeId: string): Promise<Job | undefined> {
  return (await allJobs(execute)).find(({ id }) => id === jobId(volumeId))
}

/** Volumes whose disks a job is on. */
export async function volumesWithJobs(execute: Execute): Promise<string[]> {
  return (await allJobs(execute)).flatMap(({ id }) => (id.startsWith(JOB) ? [id.slice(JOB.length)] : []))
}

/** Ends the job on a disk, if there is one; layers that are together by then stay so. */
export async function cancelJob(execute: Execute, volumeId: string): Promise<void> {
  for (let job = await jobOf(execute, volumeId); job; job = await jobOf(execute, volumeId)) {
    await execute(job.status === 'concluded' ? 'job-dismiss' : 'job-cancel', { id: job.id }).catch((error: unknown) => {
      // It ended by itself, or is just ending.
      if (!(error instanceof QmpError)) throw error
    })
  }
}

async function allJobs(execute: Execute): Promise<Job[]> {
  return (await execute('query-jobs')) as Job[]
}
