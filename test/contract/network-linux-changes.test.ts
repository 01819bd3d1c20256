import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { GroupSpec, PortSpec, RuleSpec, VpcChange, VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createLab, type Lab, lackingForLab } from '../support/network-lab.ts'
import { POOL } from '../support/network-rig.ts'
import { noServer, toPeer, toWorld, withRoute } from '../support/routing-rig.ts'
import { portSpec, subnetSpec, vpcSpec } from '../support/vpc-spec.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Changes of a VPC: not tested, since it needs ${lacking}.`)

const SUBNETS = ['10.0.0', '10.0.16']
const SLOTS = [1, 2, 3, 4, 5]
const GROUPS = ['sg-01', 'sg-02', 'sg-03']

const BASE = vpcSpec({
  vpcId: 'vpc-0a1', slot: 1,
  subnets: SUBNETS.map((net, index) => subnetSpec(`subnet-0${index}`, `${net}.0/20`, { routeTableId: `rtb-0${index}` })),
  routeTables: SUBNETS.map((_, index) => ({ routeTableId: `rtb-0${index}`, routes: [toWorld, ...[1, 2].map((slot) => (
    { destination: `192.168.${slot}.0/24`, target: { kind: 'interface' as const, interfaceId: `eni-0${slot}` } }))] })),
  groups: GROUPS.map((groupId) => ({ groupId, ingress: [], egress: [] })),
})

const rule: fc.Arbitrary<RuleSpec> = fc.record({
  protocol: fc.constantFrom('tcp', 'udp'), fromPort: fc.constantFrom(22, 53), toPort: fc.constantFrom(53, 443),
  peer: fc.constantFrom({ cidr: '10.0.0.0/8' }, { cidr: '0.0.0.0/0' }, { groupId: 'sg-02' }, { groupId: 'sg-09' }),
})

const group: fc.Arbitrary<GroupSpec> = fc.record({
  groupId: fc.constantFrom(...GROUPS), ingress: fc.array(rule, { maxLength: 3 }), egress: fc.array(rule, { maxLength: 2 }),
})

/** An interface's slot is its id's; what it has of addresses may have been another's before. */
const port: fc.Arbitrary<PortSpec> = fc.record({
  slot: fc.constantFrom(...SLOTS), subnet: fc.constantFrom(0, 1), host: fc.integer({ min: 10, max: 14 }),
  publicIp: fc.constantFrom(null, '198.18.4.1', '198.18.4.2'), second: fc.constantFrom(undefined, 20, 21),
  secondPublic: fc.constantFrom(null, '198.18.4.3'), groupIds: fc.subarray(GROUPS, { minLength: 1 }),
  sourceDestCheck: fc.boolean(), metadataHopLimit: fc.constantFrom(1, 2), isCut: fc.integer({ min: 0, max: 3 }),
}).map(({ slot, subnet, host, publicIp, second, secondPublic, isCut, ...rest }) => portSpec({
  interfaceId: `eni-0${slot}`, subnetId: `subnet-0${subnet}`, slot, mac: `02:00:00:00:00:0${slot}`,
  privateIp: `${SUBNETS[subnet]}.${host}`, publicIp,
  secondary: second === undefined ? [] : [{ privateIp: `${SUBNETS[subnet]}.${second}`, publicIp: secondPublic }],
  ...(isCut === 0 && { isCut: true }), ...rest,
}))

const step = fc.record({
  ports: fc.uniqueArray(port, { maxLength: 3, selector: (each) => each.interfaceId }),
  removed: fc.subarray(SLOTS.map((slot) => `eni-0${slot}`), { maxLength: 2 }),
  groups: fc.uniqueArray(group, { maxLength: 2, selector: (each) => each.groupId }),
})

/** The change that a step is in `spec`, without ports that would take an address from another that keeps it. */
function legal(spec: VpcSpec, { ports, removed, groups }: VpcChange): { spec: VpcSpec; change: VpcChange } {
  const touched = new Set([...removed, ...ports.map((each) => each.interfaceId)])
  const kept = spec.ports.filter((each) => !touched.has(each.interfaceId))
  const addresses = (each: PortSpec) => [each, ...each.secondary].flatMap((one) => [one.privateIp, one.publicIp ?? []].flat())
  const taken = new Set(kept.flatMap(addresses))
  const added: PortSpec[] = []
  for (const each of ports) {
    const own = addresses(each)
    if (own.some((address) => taken.has(address)) || new Set(own).size < own.length) continue
    for (const address of own) taken.add(address)
    added.push(each)
  }
  const isAdded = new Set(added.map((each) => each.interfaceId))
  const gone = [...touched].filter((id) => !isAdded.has(id))
  const isChanged = new Set(groups.map((each) => each.groupId))
  return {
    spec: {
      ...spec, ports: [...kept, ...added],
      groups: [...spec.groups.filter((each) => !isChanged.has(each.groupId)), ...groups],
    },
    change: { ports: added, removed: gone, groups },
  }
}

interface Listed {
  chain?: { family: string; name: string; handle?: number }
  set?: { family: string; name: string; handle?: number; elem?: unknown[] }
  map?: { family: string; name: string; handle?: number; elem?: unknown[] }
  rule?: { family: string; chain: string; handle?: number; expr: unknown }
}

/** A ruleset without handles and without the order in which its chains and elements came. */
function rulesetOf(json: string): Record<string, string[]> {
  const found: Record<string, string[]> = {}
  const of = (key: string) => (found[key] ??= [])
  for (const each of (JSON.parse(json) as { nftables: Listed[] }).nftables) {
    const collection = each.set ?? each.map
    if (each.chain) of(`chain ${each.chain.family} ${each.chain.name}`)
    if (each.rule) of(`chain ${each.rule.family} ${each.rule.chain}`).push(JSON.stringify(each.rule.expr))
    if (collection) {
      of(`set ${collection.family} ${collection.name}`).push(...(collection.elem ?? []).map((elem) => JSON.stringify(elem)).toSorted())
    }
  }
  return found
}

describe.skipIf(lacking !== undefined)('Changes of a VPC on Linux', { timeout: 120_000 }, () => {
  let lab: Lab
  const create = (exec = lab.exec) => createLinuxNetwork({
    homeId: lab.homeId, publicPool: POOL, clock: systemClock, log: { ...silentLogger, warn: fellBack }, exec, services: noServer,
  })
  /** A change that does not apply is done as a whole: right, and not what is meant here. */
  const fellBack = (message: string) => {
    throw new Error(message)
  }
  beforeAll(async () => {
    lab = await createLab()
    await create().ensureHost()
  })
  afterAll(async () => {
    await create().removeAll()
    await lab.close()
  })

  /** A driver whose process dies after its nth command. */
  function dyingAfter(nth: number) {
    let count = 0
    const cutting = <A extends unknown[]>(run: (...args: A) => Promise<string>) => async (...args: A) => {
      if (++count > nth) throw new Error('cut short')
      return run(...args)
    }
    return create({ host: cutting(lab.exec.host), inside: cutting(lab.exec.inside) })
  }

  async function kernelState() {
    const netns = create().netnsPathOf(BASE.slot)!.split('/').at(-1)!
    const inside = (...command: string[]) => lab.exec.inside(netns, command)
    const sorted = async (output: Promise<string>) =>
      (await output).split('\n').map((line) => line.replace(/ +/g, ' ').trim()).toSorted()
    const [rules, routes, neighbours, policies, links, host] = await Promise.all([
      inside('nft', '-j', 'list', 'ruleset'),
      sorted(inside('ip', '-4', 'route', 'show', 'table', 'all')), sorted(inside('ip', 'neigh', 'show', 'nud', 'permanent')),
      sorted(inside('ip', 'rule')), sorted(inside('ip', '-br', 'link')), sorted(lab.exec.host(['ip', 'route', 'show', 'root', POOL])),
    ])
    return { rules: rulesetOf(rules), routes, neighbours, policies, links: links.map((line) => line.replace(/@if\d+| [0-9a-f:]{17} /g, ' ')), host }
  }

  it('leave the kernel as a whole making of the same spec would', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 6 }), async (steps) => {
      const network = create()
      let spec = BASE
      await network.syncVpc(spec)
      for (const each of steps) {
        const next = legal(spec, each)
        spec = next.spec
        await network.syncVpc(spec, next.change)
      }
      const changed = await kernelState()
      const other = create()
      await other.syncVpc(spec)
      expect(await kernelState()).toEqual(changed)
      await other.removeVpc(BASE.vpcId)
      await other.syncVpc(spec)
      expect(await kernelState()).toEqual(changed)
      await other.removeVpc(BASE.vpcId)
    }), { numRuns: 6, seed: 20 })
  })

  it('make and remove a NAT gateway and a peering to the end wherever they are cut short', async () => {
    const link = { peeringId: 'pcx-01', slot: 3 }
    const peerCidrs = ['10.7.0.0/16']
    const away = vpcSpec({
      vpcId: 'vpc-0b2', slot: 2, cidrs: peerCidrs,
      peerings: [{ ...link, peerVpcId: BASE.vpcId, peerVpcSlot: BASE.slot, peerCidrs: BASE.cidrs, side: 'accepter' }],
    })
    const rich: VpcSpec = {
      ...BASE,
      natGateways: [{
        natGatewayId: 'nat-01', interfaceId: 'eni-08', subnetId: 'subnet-00', slot: 8, mac: '02:00:00:00:00:08',
        privateIp: '10.0.0.18', publicIp: '198.18.4.18',
      }],
      peerings: [{ ...link, peerVpcId: away.vpcId, peerVpcSlot: away.slot, peerCidrs, side: 'requester' }],
      routeTables: withRoute(BASE, toPeer('10.7.0.0/16')),
    }
    const network = create()
    await network.syncVpc(away)
    await network.syncVpc(rich)
    const whole = await kernelState()
    await network.syncVpc(BASE)
    const bare = await kernelState()
    for (const [from, to, expected] of [[BASE, rich, whole], [rich, BASE, bare]] as const) {
      await network.syncVpc(from)
      // What comes before only looks.
      for (let nth = 6; ; nth += 2) {
        const outcome = await dyingAfter(nth).syncVpc(to).then(() => 'whole', (error: Error) => error.message)
        if (outcome === 'whole') break
        expect(outcome).toBe('cut short')
        await network.syncVpc(to)
        expect(await kernelState()).toEqual(expected)
        await network.syncVpc(from)
      }
    }
    await network.removeVpc(BASE.vpcId)
    await network.removeVpc(away.vpcId)
    expect(await lab.exec.host(['ip', 'netns', 'list'])).not.toContain(`hearthnat-${lab.homeId}`)
  })

  it('are done as a whole where the kernel is not as it was left', async () => {
    const warnings: string[] = []
    const network = createLinuxNetwork({
      homeId: lab.homeId, publicPool: POOL, clock: systemClock, exec: lab.exec, services: noServer,
      log: { ...silentLogger, warn: (message) => void warnings.push(message) },
    })
    const [first] = fc.sample(port, { numRuns: 1, seed: 3 })
    await network.syncVpc(BASE)
    await lab.exec.inside(network.netnsPathOf(BASE.slot)!.split('/').at(-1)!, ['nft', 'flush', 'ruleset'])
    await network.syncVpc({ ...BASE, ports: [first!] }, { ports: [first!], removed: [], groups: [] })
    expect(warnings).toHaveLength(1)
    const mended = await kernelState()
    await network.removeVpc(BASE.vpcId)
    await network.syncVpc({ ...BASE, ports: [first!] })
    expect(await kernelState()).toEqual(mended)
  })
})
