import { createApi } from '../src/api.ts'
import { textsOf } from '../src/cli/xml.ts'
import { systemClock } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { systemRandom } from '../src/core/random.ts'
import { DEFAULT_ACCOUNT } from '../src/model/account.ts'
import { sign } from '../src/protocol/sigv4.ts'
import { zonesOf } from '../src/model/zone.ts'
import { publicPoolOf, readSettings } from '../src/settings.ts'
import { createSimHost, createSimNode, INSTANT } from '../src/sim-host.ts'
import { openSqlite } from '../src/store/sqlite.ts'
import { startCloud } from './cloud.ts'

/** Instances per second that reach "running", `--instant`. */
export interface SimFigures {
  instances: number
  /** A call for each, one after another, over HTTP to `hearth up --engine sim --instant`. */
  httpSequential: number
  /** The same by eight clients at once. */
  httpConcurrent: number
  /** One call for all of them. */
  httpOneCall: number
  /** A call for each without sockets, over a database in memory: what a test suite would do. */
  inProcess: number
}

const CLIENTS = 8
/** One RunInstances call of EC2's takes no more. */
const MOST_PER_CALL = 1000
const SETTLE_HORIZON_MS = 10_000

type Run = (count: number) => Promise<void>

/** Measures how quickly the simulated engine launches. */
export async function measureSimulated(home: string, instances: number): Promise<SimFigures> {
  const cloud = await startCloud(home, 'sim')
  const run: Run = async (count) => {
    const xml = await cloud.api.call('RunInstances', parametersOf(cloud.imageId, count))
    expectRunning(xml, count)
  }
  await repeat(20, 1, run)
  const httpSequential = await rate(instances, () => repeat(instances, 1, run))
  const httpConcurrent = await rate(instances, () => repeat(instances, CLIENTS, run))
  const httpOneCall = await rate(instances, async () => {
    for (let left = instances; left > 0; left -= MOST_PER_CALL) await run(Math.min(left, MOST_PER_CALL))
  })
  await cloud.stop()
  return { instances, httpSequential, httpConcurrent, httpOneCall, inProcess: await measureInProcess(instances) }
}

async function measureInProcess(instances: number): Promise<number> {
  const ambient = { clock: systemClock, random: systemRandom, log: silentLogger }
  const settings = readSettings({ engine: 'sim', instant: true, home: '/nowhere' }, {})
  const store = await openSqlite({ file: ':memory:', durability: 'normal' })
  let failure: unknown
  const { agent } = createSimNode({
    ...ambient, settings, store, host: createSimHost(ambient, INSTANT), delays: INSTANT, onFatal: (error) => (failure = error),
  })
  const credentials = { accessKeyId: 'AKIABENCHBENCHBENCHB', secretAccessKey: 'bench', accountId: DEFAULT_ACCOUNT }
  const api = await createApi({
    ...ambient, store, credentials, region: settings.region, zones: zonesOf(settings), placement: 'spread', auth: 'strict', publicPool: publicPoolOf(settings, '0000'),
    settle: () => agent.settled(SETTLE_HORIZON_MS),
  })
  await agent.start()
  await agent.settled(SETTLE_HORIZON_MS)
  const image = await store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
  const run: Run = async (count) => {
    const body = Buffer.from(new URLSearchParams({
      Action: 'RunInstances', Version: '2016-11-15', ...parametersOf(image.image_id, count),
    }).toString())
    const headers = { 'host': 'localhost', 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
    const request = { method: 'POST', url: '/', headers, body }
    const signed = sign(request, credentials, { region: settings.region, service: 'ec2' }, systemClock.now())
    const answer = await api.handle({ ...request, headers: signed })
    expectRunning(String(answer.body), count)
  }
  await repeat(20, 1, run)
  const figure = await rate(instances, () => repeat(instances, 1, run))
  await agent.stop()
  await store.close()
  if (failure !== undefined) throw failure
  return figure
}

function parametersOf(imageId: string, count: number): Record<string, string> {
  return { ImageId: imageId, InstanceType: 't3.micro', MinCount: String(count), MaxCount: String(count) }
}

/** An answer that is not what was asked for must not count as quick. */
function expectRunning(xml: string, count: number): void {
  const found = textsOf(xml, 'instanceId').length
  if (found < count) throw new Error(`RunInstances answered ${found} of ${count} instances: ${xml.slice(0, 500)}`)
}

async function repeat(total: number, clients: number, run: Run): Promise<void> {
  let left = total
  await Promise.all(Array.from({ length: clients }, async () => {
    while (left-- > 0) await run(1)
  }))
}

async function rate(instances: number, body: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await body()
  return (instances * 1000) / (performance.now() - startMs)
}
