import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network, PortSpec, RouteSpec, VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import type { VpcServicesServer } from '../../src/network/services-server.ts'
import { createLab, type Guest, type Lab } from './network-lab.ts'
import { all, group, POOL } from './network-rig.ts'
import { portSpec, subnetSpec, vpcSpec } from './vpc-spec.ts'

/** Services that nobody asks. */
export const noServer: VpcServicesServer = { open: async () => {}, close: async () => {}, closeAll: async () => {} }

export const PUBLIC = '198.18.4.21'
export const SPARE = '198.18.4.22'
export const NAT_PUBLIC = '198.18.4.29'
/** Behind the guest that forwards. */
export const BEHIND = '192.168.50.1'

export const toWorld: RouteSpec = { destination: '0.0.0.0/0', target: { kind: 'internet-gateway' } }
const toNat: RouteSpec = { destination: '0.0.0.0/0', target: { kind: 'nat-gateway', natGatewayId: 'nat-01' } }
export const toPeer = (destination: string): RouteSpec => ({ destination, target: { kind: 'peering', peeringId: 'pcx-01' } })

const open = group('sg-01', [all])

function portOf(slot: number, subnetId: string, privateIp: string, change: Partial<PortSpec> = {}): PortSpec {
  return portSpec({
    interfaceId: `eni-0${slot}`, subnetId, slot, mac: `02:00:00:00:00:0${slot}`, privateIp, groupIds: ['sg-01'], ...change,
  })
}

/**
 * A VPC with a public subnet (guests 1, 3 and 4) and a private one (guest 2) behind a NAT gateway. Guest 1
 * has a public address; guest 3 may be made to forward.
 */
export const HOME = vpcSpec({
  vpcId: 'vpc-0a1', slot: 1,
  subnets: [
    subnetSpec('subnet-01', '10.0.0.0/20', { routeTableId: 'rtb-01' }),
    subnetSpec('subnet-02', '10.0.16.0/20', { routeTableId: 'rtb-02' }),
  ],
  routeTables: [{ routeTableId: 'rtb-01', routes: [toWorld] }, { routeTableId: 'rtb-02', routes: [toNat] }],
  groups: [open],
  ports: [
    portOf(1, 'subnet-01', '10.0.0.11', { publicIp: PUBLIC }), portOf(2, 'subnet-02', '10.0.16.12'),
    portOf(3, 'subnet-01', '10.0.0.13'), portOf(4, 'subnet-01', '10.0.0.14'),
  ],
  natGateways: [{
    natGatewayId: 'nat-01', interfaceId: 'eni-09', subnetId: 'subnet-01', slot: 9, mac: '02:00:00:00:00:09',
    privateIp: '10.0.0.19', publicIp: NAT_PUBLIC,
  }],
})

/** Another VPC, with guest 5. */
export const AWAY = vpcSpec({
  vpcId: 'vpc-0b2', slot: 2, cidrs: ['10.2.0.0/16'], subnets: [subnetSpec('subnet-03', '10.2.0.0/20')],
  groups: [{ ...open, groupId: 'sg-05' }], ports: [portOf(5, 'subnet-03', '10.2.0.15', { groupIds: ['sg-05'] })],
})

/** Each VPC with a peering to the other, and with routes there. */
export const peered = (): [VpcSpec, VpcSpec] => {
  const link = { peeringId: 'pcx-01', slot: 3 }
  return [
    {
      ...HOME, routeTables: withRoute(HOME, toPeer('10.2.0.0/16')),
      peerings: [{ ...link, peerVpcId: AWAY.vpcId, peerVpcSlot: AWAY.slot, peerCidrs: AWAY.cidrs, side: 'requester' }],
    },
    {
      ...AWAY, routeTables: withRoute(AWAY, toPeer('10.0.0.0/16')),
      peerings: [{ ...link, peerVpcId: HOME.vpcId, peerVpcSlot: HOME.slot, peerCidrs: HOME.cidrs, side: 'accepter' }],
    },
  ]
}

/** The route tables with one more route in each. */
export function withRoute({ routeTables }: VpcSpec, route: RouteSpec): VpcSpec['routeTables'] {
  return routeTables.map((each) => ({ ...each, routes: [...each.routes, route] }))
}

/** The ports with one of them changed. */
export function withPort({ ports }: VpcSpec, slot: number, change: Partial<PortSpec>): PortSpec[] {
  return ports.map((port) => (port.slot === slot ? { ...port, ...change } : port))
}

export interface RoutingRig {
  lab: Lab
  network: Network
  guest(slot: number): Guest
  /** Runs a command in a VPC's namespace. */
  inVpc(slot: number, ...command: string[]): Promise<string>
  close(): Promise<void>
}

/** Both VPCs with their guests; every guest answers on TCP port 22 and UDP port 53. */
export async function createRoutingRig(): Promise<RoutingRig> {
  const lab = await createLab()
  const network = createLinuxNetwork({
    homeId: lab.homeId, publicPool: POOL, clock: systemClock, log: silentLogger, exec: lab.exec, services: noServer,
  })
  const guests = new Map<number, Guest>([[0, lab.outside]])
  const netnsOf = (slot: number) => network.netnsPathOf(slot)!.split('/').at(-1)!
  await network.ensureHost()
  for (const spec of [HOME, AWAY]) {
    await network.syncVpc({ ...spec, ports: [], natGateways: [] })
    await Promise.all(spec.ports.map(async (port) => {
      const { cidr } = spec.subnets.find((subnet) => subnet.subnetId === port.subnetId)!
      const gateway = cidr.replace('.0/20', '.1')
      guests.set(port.slot, await lab.guest(netnsOf(spec.slot), network.tapOf(port.slot), port, gateway))
    }))
    await network.syncVpc(spec)
  }
  await Promise.all([...guests.values()].flatMap((each) => [each.serve(22), each.serveUdp(53)]))
  return {
    lab, network,
    guest: (slot) => guests.get(slot)!,
    inVpc: (slot, ...command) => lab.exec.inside(netnsOf(slot), command),
    async close() {
      await network.removeAll()
      await network.close()
      await lab.close()
    },
  }
}
