import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { AclEntrySpec, RouteSpec, VpcSpec } from '../../src/network/driver.ts'
import { lackingForLab, OUTSIDE_ADDRESS } from '../support/network-lab.ts'
import { all, group, icmp, tcp } from '../support/network-rig.ts'
import {
  AWAY, BEHIND, createRoutingRig, HOME, NAT_PUBLIC, peered, PUBLIC, type RoutingRig, SPARE, toPeer, toWorld, withPort, withRoute,
} from '../support/routing-rig.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Routing between guests: not tested, since it needs ${lacking}.`)

const PRIVATE_1 = '10.0.0.11'
const PRIVATE_2 = '10.0.16.12'
const PRIVATE_5 = '10.2.0.15'

describe.skipIf(lacking !== undefined)('Routes, gateways and network ACLs on Linux', { timeout: 60_000 }, () => {
  let rig: RoutingRig
  beforeAll(async () => {
    rig = await createRoutingRig()
  }, 60_000)
  afterAll(() => rig?.close())
  beforeEach(() => rig.network.syncVpc(HOME))

  const sync = (change: Partial<VpcSpec>) => rig.network.syncVpc({ ...HOME, ...change })
  const guest = (slot: number) => rig.guest(slot)

  describe('NAT gateways', () => {
    it('let a private subnet out under their public address', async () => {
      expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(true)
      expect(await guest(2).connects(PUBLIC, 22)).toBe(NAT_PUBLIC)
      expect(await guest(2).connects(PRIVATE_1, 22)).toBe(PRIVATE_2)
    })

    it('are unreachable themselves, from outside and inside', async () => {
      await guest(2).pings(OUTSIDE_ADDRESS)
      expect(await Promise.all([
        rig.lab.host.pings(NAT_PUBLIC), guest(5).connects(NAT_PUBLIC, 22), guest(1).pings('10.0.0.19'),
      ])).toEqual([false, undefined, false])
    })

    it('go out by the routes and the network ACL of their own subnet', async () => {
      const [subnet, other] = HOME.subnets
      await sync({ subnets: [{ ...subnet!, routeTableId: 'rtb-03' }, other!], routeTables: [...HOME.routeTables, { routeTableId: 'rtb-03', routes: [] }] })
      expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(false)
      const closed = { networkAclId: 'acl-02', ingress: [], egress: [] }
      await sync({ subnets: [{ ...subnet!, networkAclId: 'acl-02' }, other!], networkAcls: [...HOME.networkAcls, closed] })
      expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(false)
    })

    it('are gone when the spec no longer has them, and leave nothing', async () => {
      await sync({ natGateways: [] })
      expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(false)
      expect(await rig.lab.exec.host(['ip', 'netns', 'list'])).not.toContain(`hearthnat-${rig.lab.homeId}`)
      await sync({})
      expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(true)
    })
  })

  describe('internet gateways', () => {
    it('take nobody out who has no public address, and nobody at all where none is attached', async () => {
      expect(await guest(4).pings(OUTSIDE_ADDRESS)).toBe(false)
      expect(await guest(1).pings(OUTSIDE_ADDRESS)).toBe(true)
      await sync({ hasInternetGateway: false })
      expect(await Promise.all([
        guest(1).pings(OUTSIDE_ADDRESS), guest(2).pings(OUTSIDE_ADDRESS), rig.lab.host.pings(PUBLIC), guest(1).pings('10.0.0.14'),
      ])).toEqual([false, false, false, true])
    })

    it('are of no use to a subnet without a route there', async () => {
      await sync({ ports: withPort(HOME, 2, { publicIp: SPARE }), routeTables: [{ routeTableId: 'rtb-01', routes: [toWorld] }, { routeTableId: 'rtb-02', routes: [] }] })
      expect(await Promise.all([guest(2).pings(OUTSIDE_ADDRESS), rig.lab.host.pings(SPARE)])).toEqual([false, false])
    })
  })

  describe('route tables', () => {
    it('take the longest prefix, and drop at a blackhole', async () => {
      const blackhole: RouteSpec = { destination: '203.0.113.64/26', target: { kind: 'blackhole' } }
      await sync({ routeTables: withRoute(HOME, blackhole) })
      expect(await Promise.all([guest(1).pings(OUTSIDE_ADDRESS), guest(1).pings('203.0.113.1')])).toEqual([false, true])
      await sync({ routeTables: withRoute({ ...HOME, routeTables: withRoute(HOME, blackhole) }, { ...toWorld, destination: '203.0.113.99/32' }) })
      expect(await guest(1).pings(OUTSIDE_ADDRESS)).toBe(true)
    })

    it('are each subnet\'s own', async () => {
      await sync({ routeTables: [{ routeTableId: 'rtb-01', routes: [] }, HOME.routeTables[1]!] })
      expect(await guest(1).pings(OUTSIDE_ADDRESS)).toBe(false)
      await sync({ subnets: HOME.subnets.map((each) => ({ ...each, routeTableId: 'rtb-01' })) })
      expect(await Promise.all([guest(1).pings(OUTSIDE_ADDRESS), guest(2).pings(OUTSIDE_ADDRESS)])).toEqual([true, false])
    })

    it('lead through an instance that forwards, and only while nobody checks its packets', async () => {
      await guest(3).run(['sh', '-c', `ip addr replace ${BEHIND}/32 dev lo; echo 1 > /proc/sys/net/ipv4/ip_forward`])
      const routeTables = withRoute(HOME, { destination: '192.168.50.0/24', target: { kind: 'interface', interfaceId: 'eni-03' } })
      await sync({ routeTables })
      expect(await guest(2).pings(BEHIND)).toBe(false)
      const forwarding = { ...HOME.ports[2]!, sourceDestCheck: false }
      const spec = { ...HOME, routeTables, ports: withPort(HOME, 3, { sourceDestCheck: false }) }
      await rig.network.syncVpc(spec, { ports: [forwarding], removed: [], groups: [] })
      expect(await guest(2).connects(BEHIND, 22)).toBe(PRIVATE_2)
      expect(await guest(3).pings('10.0.0.14', BEHIND)).toBe(true)
      await rig.network.syncVpc({ ...HOME, routeTables }, { ports: [HOME.ports[2]!], removed: [], groups: [] })
      expect(await Promise.all([guest(2).pings(BEHIND), guest(3).pings('10.0.0.14', BEHIND)])).toEqual([false, false])
    })

    it('do not let an instance that forwards out under another\'s public address', async () => {
      await sync({ ports: withPort(HOME, 3, { sourceDestCheck: false }) })
      await guest(3).run(['ip', 'addr', 'replace', `${PRIVATE_1}/32`, 'dev', 'lo'])
      expect(await guest(3).pings(OUTSIDE_ADDRESS, PRIVATE_1)).toBe(false)
      await guest(3).run(['ip', 'addr', 'del', `${PRIVATE_1}/32`, 'dev', 'lo'])
    })
  })

  describe('network ACLs', () => {
    const entry = (ruleNumber: number, change: Partial<AclEntrySpec> = {}): AclEntrySpec =>
      ({ ruleNumber, action: 'allow', protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0', ...change })
    /** Puts guest 2's subnet behind a network ACL. */
    const behind = (ingress: AclEntrySpec[], egress: AclEntrySpec[]) => sync({
      subnets: [HOME.subnets[0]!, { ...HOME.subnets[1]!, networkAclId: 'acl-02' }],
      networkAcls: [...HOME.networkAcls, { networkAclId: 'acl-02', ingress, egress }],
    })
    const ssh = { protocol: 'tcp', fromPort: 22, toPort: 22 }
    const ephemeral = { protocol: 'tcp', fromPort: 1024, toPort: 65535 }

    it('deny what no entry allows', async () => {
      await behind([], [])
      expect(await Promise.all([guest(1).connects(PRIVATE_2, 22), guest(2).pings(PRIVATE_1)])).toEqual([undefined, false])
    })

    it('have no memory: the answer needs an entry of its own', async () => {
      await behind([entry(100, ssh)], [])
      expect(await guest(1).connects(PRIVATE_2, 22)).toBeUndefined()
      await behind([entry(100, ssh)], [entry(100, ephemeral)])
      expect(await Promise.all([guest(1).connects(PRIVATE_2, 22), guest(2).connects(PRIVATE_1, 22)])).toEqual([PRIVATE_1, undefined])
    })

    it('cut an established connection, as its packets are judged one by one', async () => {
      await behind([entry(100)], [entry(100)])
      const connection = await guest(1).open(PRIVATE_2, 22)
      expect(await connection.echoes('before')).toBe(true)
      await behind([entry(50, { action: 'deny', ...ssh }), entry(100)], [entry(100)])
      expect(await connection.echoes('after')).toBe(false)
    })

    it('decide by the lowest rule number that matches, whatever the order they come in', async () => {
      const deny = { action: 'deny' as const, cidr: `${PRIVATE_1}/32` }
      await behind([entry(200), entry(100, deny)], [entry(100)])
      expect(await Promise.all([guest(1).pings(PRIVATE_2), guest(4).pings(PRIVATE_2)])).toEqual([false, true])
      await behind([entry(100), entry(200, deny)], [entry(100)])
      expect(await guest(1).pings(PRIVATE_2)).toBe(true)
    })

    it('have no say inside a subnet, nor over the VPC\'s own services', async () => {
      await sync({ networkAcls: [{ networkAclId: 'acl-01', ingress: [], egress: [] }] })
      expect(await Promise.all([
        guest(1).pings('10.0.0.14'), guest(1).pings('10.0.0.2'), guest(1).pings(OUTSIDE_ADDRESS), rig.lab.host.pings(PUBLIC),
      ])).toEqual([true, true, false, false])
    })
  })

  describe('Elastic IPs', () => {
    it('move between running instances, and take flows with them that go on', async () => {
      expect(await rig.lab.host.asks(PUBLIC, 53, 5001)).toBe(guest(1).netns)
      expect(await guest(1).asks(OUTSIDE_ADDRESS, 53, 5002)).toBe(rig.lab.outside.netns)
      const ports = [{ ...HOME.ports[0]!, publicIp: SPARE }, { ...HOME.ports[3]!, publicIp: PUBLIC }]
      await rig.network.syncVpc({ ...HOME, ports: [ports[0]!, HOME.ports[1]!, HOME.ports[2]!, ports[1]!] }, { ports, removed: [], groups: [] })
      expect(await rig.lab.host.asks(PUBLIC, 53, 5001)).toBe(guest(4).netns)
      expect(await guest(1).asks(OUTSIDE_ADDRESS, 53, 5002)).toBe(rig.lab.outside.netns)
      expect(await rig.lab.host.asks(SPARE, 53, 5001)).toBe(guest(1).netns)
      await rig.network.syncVpc(HOME, { ports: [HOME.ports[0]!, HOME.ports[3]!], removed: [], groups: [] })
      expect(await rig.lab.host.asks(PUBLIC, 53, 5001)).toBe(guest(1).netns)
      expect(await rig.lab.host.asks(SPARE, 53, 5001)).toBeUndefined()
    })

    it('move to another VPC', async () => {
      expect(await rig.lab.host.asks(PUBLIC, 53, 5003)).toBe(guest(1).netns)
      await rig.network.syncVpc({ ...AWAY, ports: withPort(AWAY, 5, { publicIp: PUBLIC }) })
      await rig.network.syncVpc({ ...HOME, ports: withPort(HOME, 1, { publicIp: null }) })
      expect(await rig.lab.host.asks(PUBLIC, 53, 5003)).toBe(guest(5).netns)
      await rig.network.syncVpc(AWAY)
      await rig.network.syncVpc(HOME)
      expect(await rig.lab.host.asks(PUBLIC, 53, 5003)).toBe(guest(1).netns)
    })

    it('belong to secondary private addresses as well', async () => {
      await guest(4).run(['ip', 'addr', 'replace', '10.0.0.44/32', 'dev', 'eth0'])
      expect(await guest(1).pings('10.0.0.44')).toBe(false)
      await sync({ ports: withPort(HOME, 4, { secondary: [{ privateIp: '10.0.0.44', publicIp: SPARE }] }) })
      expect(await guest(1).pings('10.0.0.44')).toBe(true)
      expect(await guest(4).pings(PRIVATE_1, '10.0.0.44')).toBe(true)
      expect(await rig.lab.host.pings(SPARE)).toBe(true)
      expect(await guest(4).pings(OUTSIDE_ADDRESS, '10.0.0.44')).toBe(true)
      expect(await guest(4).pings(OUTSIDE_ADDRESS, '10.0.0.14')).toBe(false)
      // Members of a group are all of its interfaces' addresses.
      const named = group('sg-02', [icmp({ groupId: 'sg-03' })])
      const ports = withPort({ ...HOME, ports: withPort(HOME, 1, { groupIds: ['sg-02'] }) }, 4,
        { groupIds: ['sg-03'], secondary: [{ privateIp: '10.0.0.44', publicIp: null }] })
      await sync({ groups: [...HOME.groups, named, group('sg-03', [])], ports })
      expect(await guest(4).pings(PRIVATE_1, '10.0.0.44')).toBe(true)
      expect(await guest(3).pings(PRIVATE_1)).toBe(false)
    })
  })

  describe('peering', () => {
    const link = async ([home, away] = peered()) => {
      await rig.network.syncVpc(home)
      await rig.network.syncVpc(away)
    }
    const unlink = async () => {
      await rig.network.syncVpc(HOME)
      await rig.network.syncVpc(AWAY)
    }

    it('connects two VPCs while it lasts', async () => {
      expect(await guest(1).pings(PRIVATE_5)).toBe(false)
      await link()
      expect(await guest(1).connects(PRIVATE_5, 22)).toBe(PRIVATE_1)
      expect(await guest(5).connects(PRIVATE_2, 22)).toBe(PRIVATE_5)
      await unlink()
      expect(await guest(1).pings(PRIVATE_5)).toBe(false)
      expect(await rig.inVpc(AWAY.slot, 'ip', '-br', 'link')).not.toContain(`p${rig.lab.homeId}`)
    })

    it('is there whichever VPC comes first, and again when one has been away', async () => {
      const [home, away] = peered()
      await rig.network.syncVpc(away)
      await rig.network.syncVpc(home)
      expect(await guest(5).pings(PRIVATE_1)).toBe(true)
      const [third] = [{ ...AWAY, vpcId: 'vpc-0c3', slot: 4, ports: [], cidrs: ['10.4.0.0/16'], subnets: [] }]
      const more = { peeringId: 'pcx-02', slot: 5, peerVpcId: 'vpc-0c3', peerVpcSlot: 4, peerCidrs: ['10.4.0.0/16'], side: 'requester' as const }
      await rig.network.syncVpc({ ...home, peerings: [...home.peerings, more], routeTables: withRoute(home, { destination: '10.4.0.0/16', target: { kind: 'peering', peeringId: 'pcx-02' } }) })
      expect(await rig.inVpc(HOME.slot, 'ip', 'route', 'show', 'table', 'all', '10.4.0.0/16')).toContain('blackhole')
      await rig.network.syncVpc({ ...third, peerings: [{ ...more, peerVpcId: HOME.vpcId, peerVpcSlot: HOME.slot, peerCidrs: HOME.cidrs, side: 'accepter' }] })
      expect(await rig.inVpc(HOME.slot, 'ip', 'route', 'show', 'table', 'all', '10.4.0.0/16')).toContain('via 100.65.0.2')
      await rig.network.removeVpc('vpc-0c3')
      expect(await guest(5).pings(PRIVATE_1)).toBe(true)
      await unlink()
    })

    it('carries nothing but between the blocks of the two', async () => {
      const [home, away] = peered()
      // The other VPC would like to use this one's way out, and its NAT gateway.
      await link([home, { ...away, routeTables: [{ routeTableId: 'rtb-01', routes: [toPeer('0.0.0.0/0')] }] }])
      const answered = ['169.254.169.253', PRIVATE_1]
      const unanswered = [OUTSIDE_ADDRESS, '10.0.0.19', '10.0.0.2']
      expect(await Promise.all([...answered, ...unanswered].map((address) => guest(5).pings(address)))).toEqual([true, true, false, false, false])
      await unlink()
    })

    it('lets a rule name a group of the other VPC', async () => {
      const [home, away] = peered()
      const rules = group('sg-05', [icmp({ groupId: 'sg-07' }), tcp(22, 22, { groupId: 'sg-07' })])
      const naming = (addresses: string[]) => ({ ...away, groups: [rules], foreignGroups: [{ groupId: 'sg-07', addresses }] })
      await link([home, naming([PRIVATE_1])])
      expect(await Promise.all([guest(1).connects(PRIVATE_5, 22), guest(4).pings(PRIVATE_5)])).toEqual([PRIVATE_1, false])
      await rig.network.syncVpc(naming(['10.0.0.14']))
      expect(await Promise.all([guest(1).pings(PRIVATE_5), guest(4).pings(PRIVATE_5)])).toEqual([false, true])
      await unlink()
    })

    it('is what a private NAT gateway hides a subnet\'s addresses from', async () => {
      const [home, away] = peered()
      const natGateways = HOME.natGateways.map((nat) => ({ ...nat, publicIp: null }))
      const [open, hidden] = home.routeTables
      await link([{
        ...home, natGateways,
        routeTables: [open!, { ...hidden!, routes: [{ destination: '10.2.0.0/16', target: { kind: 'nat-gateway', natGatewayId: 'nat-01' } }] }],
      }, away])
      expect(await guest(2).connects(PRIVATE_5, 22)).toBe('10.0.0.19')
      expect(await Promise.all([guest(2).pings(OUTSIDE_ADDRESS), guest(5).pings('10.0.0.19')])).toEqual([false, false])
      await unlink()
    })
  })

  it('answers nobody in another\'s name, even where the source is not checked', async () => {
    await sync({ ports: withPort(HOME, 3, { sourceDestCheck: false }), groups: [group('sg-01', [all])] })
    await guest(3).run(['ip', 'addr', 'replace', '10.0.0.14/32', 'dev', 'lo'])
    expect(await guest(3).pings('10.0.0.2')).toBe(true)
    const seen = (await rig.inVpc(HOME.slot, 'cat', '/proc/net/snmp')).split('\n').filter((line) => line.startsWith('Icmp:'))
    await guest(3).pings('10.0.0.2', '10.0.0.14')
    const then = (await rig.inVpc(HOME.slot, 'cat', '/proc/net/snmp')).split('\n').filter((line) => line.startsWith('Icmp:'))
    expect(then).toEqual(seen)
    await guest(3).run(['ip', 'addr', 'del', '10.0.0.14/32', 'dev', 'lo'])
  })

  it('leaves nothing when all of it goes', async () => {
    for (const spec of peered()) await rig.network.syncVpc(spec)
    await rig.network.removeAll()
    expect(await rig.lab.exec.host(['ip', 'netns', 'list'])).not.toMatch(new RegExp(`hearth(nat)?-${rig.lab.homeId}`))
    expect(await rig.lab.exec.host(['ip', '-br', 'link'])).not.toContain(rig.lab.homeId)
    expect(await rig.lab.exec.host(['nft', 'list', 'ruleset'])).toBe('')
    expect(await rig.lab.exec.host(['ip', 'route', 'show', 'table', 'all'])).not.toContain('198.18.')
  })
})
