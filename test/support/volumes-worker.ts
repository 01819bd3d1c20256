import { messageOf } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import type { VolumesAnswer, VolumesCall } from './mortal-volumes.ts'

// A process of its own with the disks of a home (its argument), as an agent is: told over its channel
// what to do, and answering there. `mortal-volumes.ts` starts and kills it.

const volumes = createQcow2Volumes({ home: process.argv[2] ?? '', log: silentLogger })
const answer = (message: VolumesAnswer) => void process.send?.(message)

process.on('message', ({ method, words }: VolumesCall) => {
  const run = volumes[method] as (...words: unknown[]) => Promise<unknown>
  run.apply(volumes, words).then((result) => answer({ result }), (error: unknown) => answer({ error: messageOf(error) }))
})
process.send?.('ready')
