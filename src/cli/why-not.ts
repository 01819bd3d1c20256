import { InvalidArgumentError, type Command } from 'commander'
import { formatCidr } from '../core/cidr.ts'
import { homeIdOf } from '../home.ts'
import { publicPoolOf, type Settings } from '../settings.ts'
import type { Db, Store } from '../store/store.ts'
import { loadWorld, vpcOfPublicAddress, withPeers } from '../vpc/load-world.ts'
import { describeHop, describePacket, explain } from '../vpc/reach-text.ts'
import { reach, type Probe, type Verdict } from '../vpc/reach.ts'
import { ICMP, TCP, UDP } from '../vpc/reach-world.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { listInstances } from './instances.ts'
import { addressToCall, findPacketEnd, type PacketEnd } from './packet-ends.ts'
import { settingsInForce } from './up-record.ts'
import type { Terminal } from './terminal.ts'
import { explainZone, zoneObstacles, type ZoneObstacle } from './zone-trouble.ts'

const PROTOCOLS = { tcp: TCP, udp: UDP, icmp: ICMP } as const
type Protocol = keyof typeof PROTOCOLS

/** What `hearth why-not` finds. */
export interface Answer {
  verdict: Verdict
  /** What a person should know of how it was judged. */
  notes: string[]
  /** Zones that are not available, and what of the packet's way is in them; the verdict is what there would be without that. */
  zones: ZoneObstacle[]
}

function getsThrough({ verdict, zones }: Answer): boolean {
  return verdict.isReachable && zones.length === 0
}

/** `hearth why-not`: whether a packet gets through, and what stops it; ends with 0 when it does, 1 when not. */
export function addWhyNot(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'why-not', 'say whether packets get from one to the other, and what stops them', [
    'hearth why-not web db:5432', 'hearth why-not internet i-0123:443', 'hearth why-not eni-0123 203.0.113.9',
    'hearth why-not web db:53 --protocol udp',
  ])
  const end = 'an instance (id, beginning of its id, Name), an interface, an address, or "internet"'
  command
    .argument('<source>', end)
    .argument('<destination[:port]>', 'the same; without a port it is asked for echo (ping)')
    .option('--protocol <name>', 'tcp, udp or icmp (default: tcp with a port, else icmp)', protocolOf)
    .option('--json', 'print it as JSON')
  withSettings(command).action(async (source: string, destination: string) => {
    const { protocol, json } = command.opts<{ protocol?: Protocol; json?: boolean }>()
    const settings = settingsOf(command)
    const answer = await withStore(settings, (store) =>
      whyNot(store, poolOf(settings), { source, ...readDestination(destination, protocol) }))
    terminal.out(json ? JSON.stringify(toJson(answer), null, 2) : formatAnswer(answer))
    process.exitCode = getsThrough(answer) ? 0 : 1
  })
}

function protocolOf(text: string): Protocol {
  const found = Object.keys(PROTOCOLS).find((each) => each === text.toLowerCase())
  if (found === undefined) throw new InvalidArgumentError('It is tcp, udp or icmp.')
  return found as Protocol
}

function poolOf(settings: Settings): string {
  return formatCidr(publicPoolOf(settingsInForce(settings), homeIdOf(settings.home)))
}

/** "web:22" with or without a protocol. @throws Error where one makes no sense without the other. */
export function readDestination(
  text: string,
  protocol: Protocol | undefined,
): { destination: string; protocol: Protocol; port: number | null } {
  const match = /^(.+):(\d{1,5})$/.exec(text)
  const port = match ? Number(match[2]) : null
  if (port !== null && (port < 1 || port > 65_535)) throw new Error(`${port} is no port: it is 1 to 65535`)
  if (protocol === 'icmp' && port !== null) throw new Error('icmp has no ports')
  if ((protocol === 'tcp' || protocol === 'udp') && port === null) throw new Error(`${protocol} needs a port: ${text}:22`)
  return { destination: match?.[1] ?? text, protocol: protocol ?? (port === null ? 'icmp' : 'tcp'), port }
}

/** Asks the evaluator over the rows as they are now, whoever is up. */
export async function whyNot(
  store: Store,
  publicPool: string,
  asked: { source: string; destination: string; protocol: Protocol; port: number | null },
): Promise<Answer> {
  const instances = await listInstances(store)
  return store.read(async (db) => {
    const source = await findPacketEnd(db, instances, asked.source)
    const destination = await findPacketEnd(db, instances, asked.destination)
    if (source.kind === 'address' && source.sharedBy.length > 0) {
      throw new Error(`${asked.source} may be any of ${source.sharedBy.join(', ')}; name one of them`)
    }
    if (source.kind === 'address' && destination.kind === 'address') {
      throw new Error(`neither ${asked.source} nor ${asked.destination} is anybody's here; name an instance or interface`)
    }
    const address = await addressToCall(db, source, destination)
    const probe: Probe = {
      source: source.kind === 'address' ? { outside: source.address } : sourceOf(source), destination: address,
      protocol: PROTOCOLS[asked.protocol], ...(asked.port === null ? {} : { destinationPort: asked.port }),
    }
    const vpcs = await loadWorld(db, await vpcsBetween(db, [source, destination], address))
    const verdict = reach({ vpcs, publicPool }, probe)
    const ends = [source, destination]
    const zones = await zoneObstacles(db, [...verdict.forward, ...verdict.back], ends.flatMap((end) => (end.kind === 'interface' ? end.row : [])))
    return { verdict, notes: notesOn(ends), zones }
  })
}

/** The first thing that stops TCP packets to a port, in a sentence; undefined when nothing of this cloud does. */
export async function firstObstacle(
  store: Store,
  settings: Settings,
  asked: { source: string; destination: string; port: number },
): Promise<string | undefined> {
  const { verdict, zones } = await whyNot(store, poolOf(settings), { ...asked, protocol: 'tcp' })
  return [...zones.map(explainZone), ...verdict.obstacles.map(explain)][0]
}

/** A public address of a source means its private one, which is all that it knows itself by. */
function sourceOf({ row, address }: PacketEnd & { kind: 'interface' }): Probe['source'] {
  const isPrivate = address !== null && address !== row.public_ip
  return { interfaceId: row.interface_id, ...(isPrivate ? { address } : {}) }
}

async function vpcsBetween(db: Db, ends: readonly PacketEnd[], address: string): Promise<string[]> {
  const own = ends.flatMap((end) => (end.kind === 'interface' ? end.row.vpc_id : []))
  return withPeers(db, [...own, ...[await vpcOfPublicAddress(db, address)].flatMap((vpcId) => vpcId ?? [])])
}

function notesOn(ends: readonly PacketEnd[]): string[] {
  return ends.flatMap((end) => {
    if (end.kind === 'address' || !end.instance || end.instance.state === 'running') return []
    return `${end.instance.instanceId} is ${end.instance.state}; judged as if it ran`
  })
}

/** One line for each step, and one for what stops it. */
export function formatAnswer(answer: Answer): string {
  const { verdict, notes, zones } = answer
  const { packet, back, obstacles } = verdict
  const lines = [
    describePacket(packet), ...notes.map((note) => `  (${note})`), ...zones.map((each) => `  ✗ ${explainZone(each)}`), ...linesOf(verdict, false),
  ]
  const hasBack = back.length > 0 || obstacles.some((each) => each.isReply)
  if (hasBack) lines.push('and the answer', ...linesOf(verdict, true))
  const count = zones.length + obstacles.length
  return [...lines, getsThrough(answer) ? 'gets through' : `stopped by ${count === 1 ? 'one thing' : `${count} things`}`].join('\n')
}

function linesOf({ forward, back, obstacles }: Verdict, isReply: boolean): string[] {
  const hops = isReply ? back : forward
  const stops = (at: number) => obstacles.filter((each) => each.isReply === isReply && each.at === at)
    .map((each) => `  ✗ ${explain(each)}`)
  return [...stops(0), ...hops.flatMap((hop, index) => [`  ✓ ${describeHop(hop)}`, ...stops(index + 1)])]
}

/** What `--json` prints. */
export function toJson(answer: Answer) {
  const { verdict, notes, zones } = answer
  const hops = (list: Verdict['forward']) => list.map((hop) => ({ kind: hop.kind, vpcId: hop.vpc.vpcId, text: describeHop(hop) }))
  return {
    isReachable: getsThrough(answer), packet: verdict.packet, notes, forward: hops(verdict.forward), back: hops(verdict.back),
    obstacles: [
      // A zone has no code among AWS's.
      ...zones.map((each) => ({ code: each.state === 'unavailable' ? 'ZONE_UNAVAILABLE' : 'ZONE_IMPAIRED', isReply: false, text: explainZone(each) })),
      ...verdict.obstacles.map((each) => ({ code: each.code, isReply: each.isReply, text: explain(each) })),
    ],
  }
}
