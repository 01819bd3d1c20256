import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { AskedPort } from '../driver.ts'
import type { ObservedNeighbour } from './links.ts'
import { type Names, NETNS_FOLDER } from './names.ts'
import type { Tools } from './tools.ts'

/** The kernel asks three times, a second apart, and gives up another second later. */
const DEADLINE_MS = 3_500
/** A guest answers at once; each look costs a process, so they become rare. */
const LOOKS_MS = { first: 30, most: 1_000 }

export interface AskOptions {
  clock: Clock
  tools: Tools
  names: Names
  /** Runs what must not overlap with a sync of the VPC. */
  alone: <T>(task: () => Promise<T>) => Promise<T>
}

/** A port's neighbour entry, as the kernel has it. */
interface Entry {
  port: AskedPort
  seen: ObservedNeighbour
}

/**
 * Asks guests for their addresses. Their neighbour entries are permanent, so the kernel never asks by itself: here they are
 * told to be probed, which sends ARP requests to the addresses that they hold and lets packets pass meanwhile, and
 * become permanent again after, also when something fails in between. What a crash leaves is mended by the next sync.
 */
export async function askPorts(
  { clock, tools, names, alone }: AskOptions,
  vpcSlot: number,
  ports: readonly AskedPort[],
): Promise<Map<string, boolean>> {
  const netns = names.netns(vpcSlot)
  const byPlace = new Map(ports.map((port) => [`${names.tap(port.slot)} ${port.privateIp}`, port]))

  async function look(): Promise<Entry[]> {
    if (!(await isThere(netns))) return []
    return (await tools.json<ObservedNeighbour>(netns, ['neigh', 'show'])).flatMap((seen) => {
      const port = byPlace.get(`${seen.dev} ${seen.dst}`)
      return port ? [{ port, seen }] : []
    })
  }
  // A port that vanishes after the look is none of the others' business: it is not in the answer.
  const put = (how: 'change' | 'replace', entries: readonly Entry[], state: 'probe' | 'permanent') =>
    tools.batchOfWhatIsThere(netns, entries.map(({ port: { privateIp, mac, slot } }) =>
      `neigh ${how} ${privateIp} lladdr ${mac} dev ${names.tap(slot)} nud ${state}`))

  let probed: Entry[] = []
  try {
    await alone(async () => {
      // One with another MAC address is another port's by now.
      probed = (await look()).filter((each) => !isPermanent(each) || each.seen.lladdr === each.port.mac)
      await put('change', probed, 'probe')
    })
    return answers(await settled(clock, look))
  } finally {
    await alone(async () => {
      // What a sync has made since is permanent. Where a machine has ended since, as for a reboot, the kernel has forgotten what
      // was not, and the next machine there could not be reached.
      const isMade = new Set((await look()).filter(isPermanent).map(({ port }) => port.interfaceId))
      if (await isThere(netns)) await put('replace', probed.filter(({ port }) => !isMade.has(port.interfaceId)), 'permanent')
    })
  }
}

/** The entries when none of them waits any more, or has waited long enough. */
async function settled(clock: Clock, look: () => Promise<Entry[]>): Promise<Entry[]> {
  const deadlineMs = clock.now() + DEADLINE_MS
  for (let pauseMs = LOOKS_MS.first; ; pauseMs = Math.min(2 * pauseMs, LOOKS_MS.most)) {
    await clock.sleep(pauseMs)
    const entries = await look()
    if (clock.now() >= deadlineMs || !entries.some(({ seen }) => seen.state.includes('PROBE'))) return entries
  }
}

function answers(entries: readonly Entry[]): Map<string, boolean> {
  return new Map(entries.filter((each) => !isPermanent(each)).map(({ port, seen }) =>
    [port.interfaceId, seen.state.some((state) => HEARD.includes(state))]))
}

/** Of a guest that says nothing it is PROBE, then FAILED, and INCOMPLETE again with the next packet for it. */
const HEARD = ['REACHABLE', 'STALE', 'DELAY']

const isThere = (netns: string) => stat(path.join(NETNS_FOLDER, netns)).then(() => true, () => false)
const isPermanent = ({ seen }: Entry) => seen.state.includes('PERMANENT')
