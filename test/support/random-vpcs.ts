import fc from 'fast-check'
import type {
  AclEntrySpec, GroupSpec, NatGatewaySpec, NetworkAclSpec, PeeringSpec, PortSpec, RouteSpec, RouteTableSpec, RuleSpec, VpcSpec,
} from '../../src/network/driver.ts'
import type { Probe } from '../../src/vpc/reach.ts'
import type { World } from '../../src/vpc/reach-world.ts'
import { portSpec, subnetSpec, vpcSpec } from './vpc-spec.ts'

/**
 * Small VPCs whose places are always the same, so that guests can stand there while everything that
 * decides on packets is drawn: two subnets in the first VPC, one in the second.
 */
export const RANDOM_POOL = '198.18.4.0/22'
export const OUTSIDE = '203.0.113.99'
const FIRST_VPC = { vpcId: 'vpc-0e1', slot: 11, cidr: '10.0.0.0/16' }
const SECOND_VPC = { vpcId: 'vpc-0e2', slot: 12, cidr: '10.1.0.0/16' }
const PEERING = 'pcx-0e1'
const NAT = 'nat-0e1'
const SUBNETS = {
  'subnet-0a': { vpc: FIRST_VPC, cidr: '10.0.0.0/20' },
  'subnet-0b': { vpc: FIRST_VPC, cidr: '10.0.16.0/20' },
  'subnet-0c': { vpc: SECOND_VPC, cidr: '10.1.0.0/20' },
} as const
type SubnetId = keyof typeof SUBNETS

/** Where guests stand, by the slot of their port. */
export const PLACES: { slot: number; subnetId: SubnetId; privateIp: string; publicIp: string }[] = [
  { slot: 1, subnetId: 'subnet-0a', privateIp: '10.0.0.11', publicIp: '198.18.4.11' },
  { slot: 2, subnetId: 'subnet-0a', privateIp: '10.0.0.12', publicIp: '198.18.4.12' },
  { slot: 3, subnetId: 'subnet-0b', privateIp: '10.0.16.13', publicIp: '198.18.4.13' },
  { slot: 4, subnetId: 'subnet-0c', privateIp: '10.1.0.14', publicIp: '198.18.4.14' },
]
/** Another address of the first guest, and the Elastic IP that it may have. */
export const SECONDARY = { slot: 1, privateIp: '10.0.0.21', publicIp: '198.18.4.21' }
const interfaceOf = (slot: number) => `eni-0e${slot}`
const macOf = (slot: number) => `02:00:00:00:0e:0${slot}`
const isFirst = (subnetId: SubnetId) => SUBNETS[subnetId].vpc === FIRST_VPC
/** The route table and the network ACL that a subnet has for itself: subnet-0a has rtb-0a. */
const idFor = (subnetId: SubnetId, prefix: 'rtb' | 'acl') => subnetId.replace('subnet', prefix)

const BLOCKS = ['0.0.0.0/0', '10.0.0.0/16', '10.0.0.0/20', '10.0.0.11/32', '10.1.0.0/16', '198.18.4.0/22', '203.0.113.0/24']
const block = fc.constantFrom(...BLOCKS)
const of = (protocol: string, ...ranges: [number, number][]) =>
  fc.constantFrom(...ranges).map(([fromPort, toPort]) => ({ protocol, fromPort, toPort }))
/** What a rule or an entry matches; the same few ports everywhere, so that it often does. */
const flow = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ protocol: '-1', fromPort: null, toPort: null }) },
  { weight: 2, arbitrary: of('tcp', [22, 22], [20, 30], [1024, 65_535], [0, 65_535]) },
  { weight: 1, arbitrary: of('udp', [53, 53], [1024, 65_535], [0, 65_535]) },
  { weight: 1, arbitrary: of('icmp', [-1, -1], [8, -1], [0, 0], [8, 0]) },
)

const GROUPS = { first: ['sg-0e1', 'sg-0e2'], second: ['sg-0e3'] }
const rule = (groups: string[]): fc.Arbitrary<RuleSpec> => fc.tuple(flow, fc.oneof(
  { weight: 3, arbitrary: block.map((cidr) => ({ cidr })) },
  { weight: 1, arbitrary: fc.constantFrom(...groups).map((groupId) => ({ groupId })) },
)).map(([what, peer]) => ({ ...what, peer }))
const rules = (groups: string[]): fc.Arbitrary<RuleSpec[]> => fc.oneof(
  { weight: 4, arbitrary: fc.constant<RuleSpec[]>([{ protocol: '-1', fromPort: null, toPort: null, peer: { cidr: '0.0.0.0/0' } }]) },
  { weight: 2, arbitrary: fc.array(rule(groups), { maxLength: 3 }) },
)

const openEntry = (ruleNumber: number): AclEntrySpec =>
  ({ ruleNumber, action: 'allow', protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0' })

const entries: fc.Arbitrary<AclEntrySpec[]> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<AclEntrySpec[]>([openEntry(100)]) },
  {
    weight: 2,
    arbitrary: fc.array(fc.tuple(flow, block, fc.constantFrom<'allow' | 'deny'>('allow', 'allow', 'deny')), { minLength: 1, maxLength: 3 })
      .map((list) => list.map(([what, cidr, action], at): AclEntrySpec => ({ ...what, cidr, action, ruleNumber: 10 + at })))
      .chain((list) => fc.boolean().map((isOpen) => (isOpen ? [...list, openEntry(100)] : list))),
  },
)

/** The first subnet is mostly public, the second mostly behind a NAT gateway or an instance that routes. */
const targets = (subnetId: SubnetId): fc.Arbitrary<RouteSpec['target']> => {
  const weighted = (weight: number, target: RouteSpec['target']) => ({ weight, arbitrary: fc.constant(target) })
  return fc.oneof(
    weighted(subnetId === 'subnet-0b' ? 3 : 8, { kind: 'internet-gateway' }), weighted(1, { kind: 'blackhole' }),
    ...(isFirst(subnetId) ? [
      weighted(subnetId === 'subnet-0b' ? 4 : 1, { kind: 'nat-gateway', natGatewayId: NAT }),
      weighted(subnetId === 'subnet-0b' ? 3 : 1, { kind: 'interface', interfaceId: interfaceOf(2) }),
    ] : []),
  )
}

/** True `times` times as often as false. */
const often = (times: number) => fc.integer({ min: 0, max: times }).map((n) => n > 0)

function table(subnetId: SubnetId): fc.Arbitrary<RouteSpec[]> {
  const peerCidr = isFirst(subnetId) ? SECOND_VPC.cidr : FIRST_VPC.cidr
  const peering: RouteSpec = { destination: peerCidr, target: { kind: 'peering', peeringId: PEERING } }
  return fc.record({
    all: fc.option(targets(subnetId), { freq: 8 }), some: fc.option(targets(subnetId), { freq: 1 }), toPeer: often(5),
    someBlock: fc.constantFrom('203.0.113.0/24', '198.18.4.0/22', '198.18.4.12/32'),
  }).map(({ all, some, someBlock, toPeer }) => [
    ...(all ? [{ destination: '0.0.0.0/0', target: all }] : []),
    ...(some ? [{ destination: someBlock, target: some }] : []),
    ...(toPeer ? [peering] : []),
  ])
}

/** Everything that is drawn. */
const drawn = fc.record({
  groups: fc.record({
    'sg-0e1': fc.tuple(rules([...GROUPS.first, ...GROUPS.second]), rules(GROUPS.first)),
    'sg-0e2': fc.tuple(rules(GROUPS.first), rules([...GROUPS.first, ...GROUPS.second])),
    'sg-0e3': fc.tuple(rules([...GROUPS.first, ...GROUPS.second]), rules([...GROUPS.second, ...GROUPS.first])),
  }),
  acls: fc.tuple(...(['subnet-0a', 'subnet-0b', 'subnet-0c'] as const).map(() => fc.tuple(entries, entries))),
  tables: fc.tuple(...(['subnet-0a', 'subnet-0b', 'subnet-0c'] as const).map(table)),
  ports: fc.tuple(...PLACES.map(({ subnetId }) => fc.record({
    groupIds: fc.subarray(isFirst(subnetId) ? GROUPS.first : GROUPS.second, { minLength: 1 }),
    isPublished: often(3), isSecondaryPublished: often(1), sourceDestCheck: often(3).map((often) => !often),
  }))),
  nat: fc.record({ isPublic: often(6), subnetId: often(4).map((often): SubnetId => (often ? 'subnet-0a' : 'subnet-0b')) }),
  hasGateway: fc.tuple(often(9), often(9)),
  isPeered: often(2),
})
type Drawn = typeof drawn extends fc.Arbitrary<infer T> ? T : never

/** Two VPCs, as the rows of a database would say them: with blackholes where a target is gone. */
export const randomVpcs: fc.Arbitrary<VpcSpec[]> = drawn.map((each) => [build(each, true), build(each, false)])

function build(each: Drawn, first: boolean): VpcSpec {
  const { vpcId, slot, cidr } = first ? FIRST_VPC : SECOND_VPC
  const subnetIds = (Object.keys(SUBNETS) as SubnetId[])
  const own = subnetIds.filter((subnetId) => isFirst(subnetId) === first)
  const ports = PLACES.map((place, at) => portOf(place, each.ports[at]!))
  const ownPorts = ports.filter((port) => own.includes(port.subnetId as SubnetId))
  const foreign = first ? GROUPS.second : GROUPS.first
  const hasGateway = each.hasGateway[first ? 0 : 1]!
  const groups = (first ? GROUPS.first : GROUPS.second).map((groupId): GroupSpec => {
    const [ingress, egress] = each.groups[groupId as keyof Drawn['groups']]
    // Without a peering no rule names a group of another VPC.
    const known = (one: RuleSpec) => each.isPeered || !('groupId' in one.peer) || !foreign.includes(one.peer.groupId)
    return { groupId, ingress: ingress.filter(known), egress: egress.filter(known) }
  })
  const named = new Set(groups.flatMap((group) => [...group.ingress, ...group.egress])
    .flatMap(({ peer }) => ('groupId' in peer && foreign.includes(peer.groupId) ? peer.groupId : [])))
  return vpcSpec({
    vpcId, slot, cidrs: [cidr], ports: ownPorts, groups, hasInternetGateway: hasGateway,
    subnets: own.map((subnetId) =>
      subnetSpec(subnetId, SUBNETS[subnetId].cidr, { routeTableId: idFor(subnetId, 'rtb'), networkAclId: idFor(subnetId, 'acl') })),
    routeTables: own.map((subnetId): RouteTableSpec => ({
      routeTableId: idFor(subnetId, 'rtb'),
      routes: each.tables[subnetIds.indexOf(subnetId)]!.map((route) => withPresentTarget(route, hasGateway, each.isPeered)),
    })),
    networkAcls: own.map((subnetId): NetworkAclSpec => {
      const [ingress, egress] = each.acls[subnetIds.indexOf(subnetId)]!
      return { networkAclId: idFor(subnetId, 'acl'), ingress, egress }
    }),
    foreignGroups: [...named].toSorted().map((groupId) => ({
      groupId, addresses: ports.filter((port) => port.groupIds.includes(groupId))
        .flatMap((port) => [port.privateIp, ...port.secondary.map((each) => each.privateIp)]),
    })),
    natGateways: first ? [natOf(each.nat)] : [], peerings: each.isPeered ? [peeringOf(first)] : [],
  })
}

function portOf(place: (typeof PLACES)[number], port: Drawn['ports'][number]): PortSpec {
  const { groupIds, isPublished, isSecondaryPublished, sourceDestCheck } = port
  const secondary = { privateIp: SECONDARY.privateIp, publicIp: isSecondaryPublished ? SECONDARY.publicIp : null }
  return portSpec({
    interfaceId: interfaceOf(place.slot), subnetId: place.subnetId, slot: place.slot, mac: macOf(place.slot), privateIp: place.privateIp,
    publicIp: isPublished ? place.publicIp : null, groupIds, sourceDestCheck,
    secondary: place.slot === SECONDARY.slot ? [secondary] : [],
  })
}

function natOf({ isPublic, subnetId }: Drawn['nat']): NatGatewaySpec {
  return {
    natGatewayId: NAT, interfaceId: 'eni-0ea', subnetId, slot: 10, mac: '02:00:00:00:0e:0a',
    privateIp: subnetId === 'subnet-0a' ? '10.0.0.50' : '10.0.16.50', publicIp: isPublic ? '198.18.4.50' : null,
  }
}

function peeringOf(first: boolean): PeeringSpec {
  const peer = first ? SECOND_VPC : FIRST_VPC
  return {
    peeringId: PEERING, slot: 13, peerVpcId: peer.vpcId, peerVpcSlot: peer.slot, peerCidrs: [peer.cidr],
    side: first ? 'requester' : 'accepter',
  }
}

function withPresentTarget(route: RouteSpec, hasGateway: boolean, isPeered: boolean): RouteSpec {
  const { kind } = route.target
  const isGone = (kind === 'internet-gateway' && !hasGateway) || (kind === 'peering' && !isPeered)
  return isGone ? { ...route, target: { kind: 'blackhole' } } : route
}

export const worldOf = (vpcs: VpcSpec[]): World => ({ vpcs, publicPool: RANDOM_POOL })

/** A packet between any two places, or the outside; to private or public addresses. */
export const randomProbe: fc.Arbitrary<Probe> = fc.record({
  from: fc.integer({ min: 0, max: PLACES.length }),
  destination: fc.constantFrom(...[...PLACES, SECONDARY].flatMap((place) => [place.privateIp, place.publicIp]), OUTSIDE, '198.18.4.200', '10.0.0.50'),
  port: fc.constantFrom(22, 23, null),
}).filter(({ from, destination }) => from > 0 || [...PLACES, SECONDARY].some((place) => place.publicIp === destination))
  .map(({ from, destination, port }) => ({
    source: from === 0 ? { outside: OUTSIDE } : { interfaceId: interfaceOf(from) }, destination,
    ...(port === null ? { protocol: 1 } : { protocol: 6, destinationPort: port }),
  }))
