import { fromOutside, fromPort, stop, type Arrival, type Flow, type Hop, type Obstacle, type Walk } from './reach-walk.ts'
import { ICMP, portOf, replyTo, TCP, UDP, type Packet, type World } from './reach-world.ts'

/** A packet that somebody would send. */
export interface Probe {
  source: ProbeSource
  /** An address: private, public, or one outside. */
  destination: string
  /** Number of the IP protocol. */
  protocol: number
  /** Of TCP and UDP; an ephemeral one unless given. */
  sourcePort?: number
  destinationPort?: number
  /** Of ICMP; an echo request unless given. */
  icmp?: { type: number; code: number }
}

export type ProbeSource =
  /** An instance's interface, from its primary private address unless another is given. */
  | { interfaceId: string; address?: string }
  /** An address outside of all VPCs. */
  | { outside: string }

export interface Verdict {
  isReachable: boolean
  packet: Packet
  /** What the packet passes, and what its answer passes on the way back. */
  forward: Hop[]
  back: Hop[]
  /** In the order in which they are met; none when it is reachable. */
  obstacles: Obstacle[]
}

/** A port that clients of every system choose as theirs, and that NAT gateways keep. */
const EPHEMERAL_PORT = 49_152

/**
 * Whether a packet gets through and its answer back: by routes, network ACLs (stateless, so that the
 * answer must be allowed too), security groups (stateful), gateways and peerings. Of filters all that
 * stand in the way are named; where there is no way on, nothing beyond is looked at. Pure.
 *
 * Guests are taken to answer, and those without source/destination check to forward by the interface
 * that a packet came in at.
 */
export function reach(world: World, probe: Probe): Verdict {
  const packet = packetOf(world, probe)
  const flow: Flow = { judged: new Set(), translated: new Map() }
  const walk = (isReply: boolean): Walk =>
    ({ world, flow, isReply, hops: [], obstacles: [], forwarders: new Set(), sender: null })
  const there = walk(false)
  const arrival = send(there, probe.source, packet)
  const back = walk(true)
  // What a VPC's own services answer needs no route, and no filter judges it.
  if (arrival && arrival.at !== 'service' && isAnswered(packet)) answer(back, arrival, { source: probe.source, packet })
  const obstacles = [...there.obstacles, ...back.obstacles]
  return { isReachable: obstacles.length === 0, packet, forward: there.hops, back: back.hops, obstacles }
}

function packetOf(world: World, probe: Probe): Packet {
  const { source, destination, protocol } = probe
  const hasPorts = protocol === TCP || protocol === UDP
  const own = 'outside' in source ? source.outside : source.address ?? portOf(world, source.interfaceId)?.privateIp ?? ''
  return {
    protocol, source: own, destination,
    sourcePort: hasPorts ? probe.sourcePort ?? EPHEMERAL_PORT : null,
    destinationPort: hasPorts ? probe.destinationPort ?? null : null,
    icmp: protocol === ICMP ? probe.icmp ?? { type: 8, code: 0 } : null,
  }
}

/** Of ICMP only echo has an answer that matters. */
function isAnswered({ icmp }: Packet): boolean {
  return icmp === null || icmp.type === 8
}

function send(walk: Walk, source: ProbeSource, packet: Packet): Arrival | undefined {
  if ('outside' in source) return fromOutside(walk, packet)
  const holder = portOf(walk.world, source.interfaceId)
  if (holder) return fromPort(walk, holder, packet)
  return stop(walk, { code: 'BAD_STATE', packet, interfaceId: source.interfaceId })
}

/** Sends the answer, which must come to who asked, from whom it was asked of. */
function answer(walk: Walk, arrival: Arrival, asked: { source: ProbeSource; packet: Packet }): void {
  const reply = replyTo(arrival.packet)
  const end = arrival.at === 'port' ? fromPort(walk, arrival.holder, reply) : fromOutside(walk, reply)
  if (!end || isAnswer(end, asked)) return
  stop(walk, { code: 'NO_POSSIBLE_DESTINATION', packet: end.packet })
}

function isAnswer(end: Arrival, { source, packet }: { source: ProbeSource; packet: Packet }): boolean {
  const isThere = 'outside' in source
    ? end.at === 'outside'
    : end.at === 'port' && end.holder.port.interfaceId === source.interfaceId
  return isThere && end.packet.source === packet.destination && end.packet.destination === packet.source
}
