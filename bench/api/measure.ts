import type { Job, JobResult } from './client.ts'
import { BATCH, insertThem, launchThem } from './populate.ts'
import { Clients, type Server } from './servers.ts'
import { timing, type AloneRow, type ComparedRow, type Timing } from './table.ts'

export interface MeasureOptions {
  rounds: number
  /** How long one measurement lasts; a call that is under way is waited for. */
  durationMs: number
  /** Numbers of instances that Hearth alone is measured with. */
  sizes: number[]
}

/** Instances present while the servers are compared. */
const PRESENT = 1000
const CLIENTS = [1, 8]
/** Pause between the lookups that a full listing may delay. */
const LOOKUP_PAUSE_MS = 5
/** Listings of each size. */
const LISTINGS = 3

type Call = Pick<Job, 'forms' | 'untilRunning' | 'instances'> & { what: string }

const FORM = 'Version=2016-11-15&Action='
const describe = (what: string, forms: string[], instances: number | null): Call => ({
  what, forms: forms.map((form) => `${FORM}DescribeInstances${form}`), untilRunning: false, instances,
})
const some = (ids: string[]) => Array.from({ length: 97 }, (_none, index) => ids[(index * 7919) % ids.length] ?? '')
const tagForms = (count: number) => some(Array.from({ length: count / BATCH }, (_none, index) => `b-${index}`))
  .map((batch) => `&Filter.1.Name=tag:batch&Filter.1.Value.1=${batch}`)
const NO_MATCH = ['&Filter.1.Name=instance-type&Filter.1.Value.1=m5.24xlarge']

function lookups(ids: string[]): Call[] {
  return [
    describe('DescribeInstances of one, by id', some(ids).map((id) => `&InstanceId.1=${id}`), 1),
    describe(`DescribeInstances by a tag that ${BATCH} have`, tagForms(ids.length), BATCH),
    describe('DescribeInstances by a type that none has', NO_MATCH, 0),
  ]
}

/** Both servers in one run, by turns, with 1,000 instances present. Answers Hearth's ids as well. */
export async function compareServers(
  hearth: Server,
  moto: Server | undefined,
  options: MeasureOptions,
  progress: (line: string) => void,
): Promise<{ rows: ComparedRow[]; ids: string[] }> {
  const servers = moto ? [hearth, moto] : [hearth]
  const present = new Map<string, string[]>()
  for (const server of servers) {
    progress(`${server.name}: launching ${PRESENT} instances`)
    present.set(server.name, await launchThem(server, PRESENT))
  }
  const clients = new Clients()
  const rows: ComparedRow[] = []
  const callsOf = (server: Server): Call[] => {
    const ids = present.get(server.name) ?? []
    return [
      ...lookups(ids),
      describe(`DescribeInstances of all ${PRESENT}`, [''], PRESENT),
      // Last: it leaves instances behind.
      {
        what: 'RunInstances until it runs', untilRunning: true, instances: 1,
        forms: [`${FORM}RunInstances&ImageId=${server.imageId}&InstanceType=t3.micro&MinCount=1&MaxCount=1`],
      },
    ]
  }
  const { length } = callsOf(hearth)
  for (let index = 0; index < length; index++) {
    for (const count of CLIENTS) {
      const results = new Map<string, JobResult[]>(servers.map(({ name }) => [name, []]))
      for (let round = 0; round < options.rounds; round++) {
        for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
          const { what, ...job } = callsOf(server)[index] ?? fail()
          progress(`${server.name}: ${what}, ${count} client(s), round ${round + 1}`)
          // moto shows an instance's id more than once.
          const instances = server.name === 'moto' ? null : job.instances
          results.get(server.name)?.push(await clients.run({
            ...job, instances, port: server.port, clients: count, durationMs: options.durationMs, pauseMs: 0,
          }))
        }
      }
      rows.push({
        what: callsOf(hearth)[index]?.what ?? '', clients: count, hearth: timing(results.get('hearth') ?? []),
        moto: moto ? timing(results.get('moto') ?? []) : null,
      })
    }
  }
  clients.close()
  return { rows, ids: present.get('hearth') ?? [] }
}

function fail(): never {
  throw new Error('there is no such call')
}

/** Hearth with many instances: lookups, a full listing, and how long the listing keeps others waiting. */
export async function measureAlone(
  hearth: Server,
  home: string,
  launched: string[],
  options: MeasureOptions,
  progress: (line: string) => void,
): Promise<AloneRow[]> {
  const clients = new Clients()
  const others = new Clients()
  const rows: AloneRow[] = []
  const ids = [...launched]
  // The launches that were measured are there too.
  const extra = await countOf(hearth, clients) - ids.length
  for (const size of options.sizes) {
    progress(`hearth: writing rows up to ${size} instances`)
    ids.push(...await insertThem(home, ids.length, size))
    const timings: [string, Timing][] = []
    for (const { what, ...job } of lookups(ids)) {
      progress(`hearth: ${what}, ${size} present`)
      const result = await clients.run({ ...job, port: hearth.port, clients: 1, durationMs: options.durationMs, pauseMs: 0 })
      timings.push([what, timing([result])])
    }
    const listed: JobResult[] = []
    const delayed: JobResult[] = []
    let memoryBytes = 0
    for (let listing = 0; listing < LISTINGS; listing++) {
      progress(`hearth: DescribeInstances of all ${size}, number ${listing + 1}`)
      const { what: _what, ...lookup } = lookups(ids)[0] ?? fail()
      const waiting = others.run({
        ...lookup, port: hearth.port, clients: 1, durationMs: Number.MAX_SAFE_INTEGER, pauseMs: LOOKUP_PAUSE_MS,
      })
      const { what: _all, ...all } = describe('', [''], ids.length + extra)
      listed.push(await clients.run({ ...all, port: hearth.port, clients: 1, durationMs: 0, pauseMs: 100 }))
      memoryBytes = Math.max(memoryBytes, hearth.memoryBytes())
      others.finish()
      delayed.push(await waiting)
    }
    const bytes = Math.max(...listed.map((each) => each.bytes))
    rows.push({ instances: size, lookups: timings, listing: { ...timing(listed), bytes }, delayed: timing(delayed), memoryBytes })
  }
  clients.close()
  others.close()
  return rows
}

async function countOf(hearth: Server, clients: Clients): Promise<number> {
  const result = await clients.run({
    port: hearth.port, clients: 1, durationMs: 0, pauseMs: 0, untilRunning: false, instances: null,
    forms: [`${FORM}DescribeInstances`],
  })
  return result.instances
}
