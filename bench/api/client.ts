import { systemClock } from '../../src/core/clock.ts'
import { textOf } from '../../src/cli/xml.ts'
import { Connection } from './http.ts'

// The process of the clients: what they cost must not slow the servers down more than it has to.

/** What the clients are to do: the same call again and again, each over a connection of its own. */
export interface Job {
  port: number
  clients: number
  /** The forms of the call, taken by turns. */
  forms: string[]
  /** After the call, DescribeInstances of what it launched is called until that runs. */
  untilRunning: boolean
  /** How long; each client makes one call at least. */
  durationMs: number
  /** Pause before each call. */
  pauseMs: number
  /** Instances that every answer must show; null where that is not known. */
  instances: number | null
}

export interface JobResult {
  /** Milliseconds of each call. */
  latencies: number[]
  elapsedMs: number
  /** DescribeInstances calls that it took to see instances run. */
  polls: number
  /** Of the largest answer. */
  bytes: number
  instances: number
}

const isRunning = (xml: string) => /<(?:instanceState)>.*?<name>running<\/name>/s.test(xml)

async function run(job: Job, signal: { isStopped: boolean }): Promise<JobResult> {
  const result: JobResult = { latencies: [], elapsedMs: 0, polls: 0, bytes: 0, instances: 0 }
  const startMs = performance.now()
  let next = 0
  const isOver = () => signal.isStopped || performance.now() - startMs >= job.durationMs
  const client = async () => {
    const connection = new Connection(job.port)
    do {
      if (job.pauseMs > 0) await systemClock.sleep(job.pauseMs)
      const form = job.forms[next++ % job.forms.length] ?? ''
      const callMs = performance.now()
      const answer = await connection.post(form)
      check(job, answer)
      if (job.untilRunning) await poll(connection, answer.text, result)
      result.latencies.push(performance.now() - callMs)
      result.bytes = Math.max(result.bytes, answer.bytes)
      result.instances = Math.max(result.instances, answer.instances)
    } while (!isOver())
    connection.close()
  }
  await Promise.all(Array.from({ length: job.clients }, client))
  result.elapsedMs = performance.now() - startMs
  return result
}

function check(job: Job, answer: { status: number; instances: number; text: string }): void {
  if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.text.slice(0, 500)}`)
  if (!/<\/\w+Response>\s*$/.test(answer.text)) throw new Error(`an answer without its end: ${answer.text.slice(-100)}`)
  if (job.instances !== null && answer.instances !== job.instances) {
    throw new Error(`${answer.instances} instances in the answer, not ${job.instances}`)
  }
}

async function poll(connection: Connection, launched: string, result: JobResult): Promise<void> {
  const id = textOf(launched, 'instanceId') ?? ''
  for (;;) {
    result.polls++
    const answer = await connection.post(`Action=DescribeInstances&Version=2016-11-15&InstanceId.1=${id}`)
    if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.text.slice(0, 500)}`)
    if (isRunning(answer.text)) return
  }
}

let signal = { isStopped: false }
process.on('message', (message: Job | 'stop') => {
  if (message === 'stop') {
    signal.isStopped = true
    return
  }
  signal = { isStopped: false }
  run(message, signal).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.on('disconnect', () => process.exit())
