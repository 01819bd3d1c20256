import dgram from 'node:dgram'
import dnsPacket from 'dns-packet'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { GroupSpec, Network, PortSpec, RuleSpec, VpcServices, VpcSpec } from '../../src/network/driver.ts'
import type { Exec } from '../../src/network/linux/exec.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createVpcServices } from '../../src/network/services/index.ts'
import { portSpec, subnetSpec, vpcSpec } from './vpc-spec.ts'
import { createLab, type Guest, type Lab } from './network-lab.ts'

export const POOL = '198.18.4.0/22'
export const GATEWAY = '10.0.0.1'
export const VPC = 'vpc-0a1'
export const SLOT = 7
export const PUBLIC_1 = '198.18.4.11'
export const PUBLIC_2 = '198.18.4.12'
export const PUBLIC_4 = '198.18.4.14'
/** What the lab's outer resolver answers to every question. */
export const FOREIGN_ANSWER = '192.0.2.55'

export const port = (slot: number, groupIds: string[], publicIp: string | null = null, hops = 1): PortSpec => portSpec({
  interfaceId: `eni-0${slot}`, subnetId: 'subnet-01', slot, mac: `02:00:00:00:00:0${slot}`,
  privateIp: `10.0.0.1${slot}`, publicIp, groupIds, metadataHopLimit: hops,
})

export const anywhere = { cidr: '0.0.0.0/0' }
export const all: RuleSpec = { protocol: '-1', fromPort: null, toPort: null, peer: anywhere }
export const tcp = (from: number, to: number, peer: RuleSpec['peer']): RuleSpec =>
  ({ protocol: 'tcp', fromPort: from, toPort: to, peer })
export const icmp = (peer: RuleSpec['peer']): RuleSpec => ({ protocol: 'icmp', fromPort: -1, toPort: -1, peer })
export const group = (groupId: string, ingress: RuleSpec[], egress: RuleSpec[] = [all]): GroupSpec =>
  ({ groupId, ingress, egress })

export const specOf = (groups: GroupSpec[], chosen: PortSpec[], vpcId = VPC, slot = SLOT): VpcSpec => vpcSpec({
  vpcId, slot, subnets: [subnetSpec('subnet-01', '10.0.0.0/20')],
  groups, ports: chosen,
})

/** 1 and 2 have public addresses, 3 has none. */
export const ports = [port(1, ['sg-01'], PUBLIC_1), port(2, ['sg-02'], PUBLIC_2, 7), port(3, ['sg-03'])]
/** Their groups, letting nothing in. */
export const closed = [group('sg-01', []), group('sg-02', []), group('sg-03', [])]
/** Another VPC of the same block, with a guest 4 that answers echo. */
export const other = specOf([group('sg-04', [icmp(anywhere)])], [port(4, ['sg-04'], PUBLIC_4)], 'vpc-0b2', 8)

/** A lab with a driver over it, two VPCs and four guests, 0 being the outside world. */
export interface Rig {
  lab: Lab
  /** The driver that is at work; `restart` puts another in its place. */
  network: Network
  create(exec?: Exec): Network
  restart(): Promise<void>
  sync(groups: GroupSpec[], chosen?: PortSpec[]): Promise<void>
  guest(slot: number): Guest
  /** Runs a command in a VPC's namespace. */
  inVpc(slot: number, ...command: string[]): Promise<string>
  /** Packets that match and come in at a guest while `act` runs. */
  countIn(slot: number, match: string, act: () => Promise<unknown>): Promise<number>
  hostPings(address: string): Promise<boolean>
  /** MAC addresses that leases were asked for. */
  leasesAsked: string[]
  close(): Promise<void>
}

/** Answers as a database would that knows one lease per port and says who asked for metadata. */
const servicesFor = (leasesAsked: string[]): VpcServices => ({
  async leaseFor(_vpcId, mac) {
    leasesAsked.push(mac)
    return {
      address: `10.0.0.1${mac.slice(-1)}`, prefix: 20, gateway: GATEWAY, dns: ['10.0.0.2'],
      domainName: 'ec2.internal', hostname: `ip-10-0-0-1${mac.slice(-1)}`, mtu: 1500, leaseSeconds: 3600,
    }
  },
  resolveName: async (_vpcId, name) => (name === 'ip-10-0-0-12.ec2.internal' ? '10.0.0.12' : undefined),
  resolveAddress: async () => undefined,
  metadata: async (vpcId, address, request) => ({
    status: 200, headers: { 'content-type': 'text/plain' },
    body: Buffer.from(`${vpcId} ${address} ${request.method} ${request.path}\n`),
  }),
})

async function outerResolver(): Promise<dgram.Socket> {
  const socket = dgram.createSocket('udp4')
  socket.on('message', (message, from) => {
    const { id, questions } = dnsPacket.decode(message)
    const answers = [{ type: 'A' as const, name: questions?.[0]?.name ?? '', ttl: 1, data: FOREIGN_ANSWER }]
    socket.send(dnsPacket.encode({ type: 'response', id, questions, answers }), from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return socket
}

export async function createRig(): Promise<Rig> {
  const leasesAsked: string[] = []
  const upstream = await outerResolver()
  const lab = await createLab()
  const guests: Guest[] = [lab.outside]
  const create: Rig['create'] = (exec = lab.exec) => createLinuxNetwork({
    homeId: lab.homeId, publicPool: POOL, clock: systemClock, log: silentLogger, exec,
    services: createVpcServices({
      services: servicesFor(leasesAsked), clock: systemClock, log: silentLogger,
      upstreamDns: [`127.0.0.1:${upstream.address().port}`],
    }),
  })
  const netnsOf = (slot: number) => rig.network.netnsPathOf(slot)!.split('/').at(-1)!
  const rig: Rig = {
    lab, create, leasesAsked,
    network: create(),
    async restart() {
      await rig.network.close()
      rig.network = create()
    },
    sync: (groups, chosen = ports) => rig.network.syncVpc(specOf(groups, chosen)),
    guest: (slot) => guests[slot]!,
    inVpc: (slot, ...command) => lab.exec.inside(netnsOf(slot), command),
    countIn: (slot, match, act) => countIn(lab, guests[slot]!.netns, match, act),
    hostPings: (address) => lab.host.pings(address),
    async close() {
      await rig.network.removeAll()
      await rig.network.close()
      await lab.close()
      upstream.close()
    },
  }
  await rig.network.ensureHost()
  await rig.sync([], [])
  await rig.network.syncVpc({ ...other, groups: [], ports: [] })
  for (const [slot, port] of [...ports.map((port) => [SLOT, port] as const), [other.slot, other.ports[0]!] as const]) {
    guests[port.slot] = await lab.guest(netnsOf(slot), rig.network.tapOf(port.slot), port, GATEWAY)
  }
  await rig.sync(closed)
  await rig.network.syncVpc(other)
  await Promise.all([1, 2, 3].flatMap((slot) => [guests[slot]!.serve(22), guests[slot]!.serve(23)]))
  await lab.outside.serve(80)
  return rig
}

async function countIn(lab: Lab, netns: string, match: string, act: () => Promise<unknown>): Promise<number> {
  await lab.exec.inside(netns, ['nft', '-f', '-'], `table inet probe {
    counter seen {
    }
    chain input {
      type filter hook input priority filter; policy accept;
      ${match} counter name seen
    }
  }\n`)
  try {
    await act()
    const listed = await lab.exec.inside(netns, ['nft', 'list', 'counter', 'inet', 'probe', 'seen'])
    return Number(/packets (\d+)/.exec(listed)?.[1])
  } finally {
    await lab.exec.inside(netns, ['nft', 'delete', 'table', 'inet', 'probe'])
  }
}
