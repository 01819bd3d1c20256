import { formatIpv4, overlaps, parseCidr, parseIpv4, sizeOf, type Cidr } from '../core/cidr.ts'
import { reach, type Probe, type Verdict } from './reach.ts'
import { isIn, isInVpc, type World } from './reach-world.ts'

/** Of a documentation block, and so nobody's: it stands for the whole world. */
export const SOMEWHERE = '203.0.113.9'

/** More than that would hold up everybody else; what is left out differs in several rules at once. */
const MAX_PROBES = 5000

/** Blocks that no one in the world has. */
const NOT_PUBLIC = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '169.254.0.0/16', '127.0.0.0/8', '224.0.0.0/3']

/** The first probe that gets through; when none does, the first of those that the fewest obstacles stop. */
export function reachAny(world: World, probes: Iterable<Probe>): Verdict | undefined {
  let best: Verdict | undefined
  let count = 0
  for (const probe of probes) {
    const verdict = reach(world, probe)
    if (!best || verdict.obstacles.length < best.obstacles.length) best = verdict
    if (best.isReachable || ++count >= MAX_PROBES) break
  }
  return best
}

/** Every rule and network ACL entry, as far as blocks and ports go. */
function rulesOf(world: World): { protocol: string; fromPort: number | null; toPort: number | null; cidr: string | null }[] {
  return world.vpcs.flatMap((vpc) => [
    ...vpc.groups.flatMap((group) => [...group.ingress, ...group.egress])
      .map((rule) => ({ ...rule, cidr: 'cidr' in rule.peer ? rule.peer.cidr : null })),
    ...vpc.networkAcls.flatMap((acl) => [...acl.ingress, ...acl.egress]),
  ])
}

/** Ports that stand for all of them: between two of these no rule begins or ends. */
export function telltalePorts(world: World): number[] {
  const bounds = rulesOf(world).filter((rule) => ['tcp', 'udp'].includes(rule.protocol))
    .flatMap(({ fromPort, toPort }) => [fromPort ?? -1, (toPort ?? -1) + 1])
  return [...new Set([80, ...bounds])].filter((port) => port > 0 && port <= 65_535)
}

/** Addresses outside that stand for all of them, in the same way. */
export function telltaleAddresses(world: World): string[] {
  const blocks = rulesOf(world).flatMap((rule) => parseCidr(rule.cidr ?? '') ?? [])
  const bounds = blocks.flatMap((block) => [block.base, block.base + sizeOf(block.prefix)])
    .filter((address) => address < 2 ** 32).map(formatIpv4)
  return [...new Set([SOMEWHERE, ...bounds])].filter((address) => isOutside(world, address))
}

/** Whether an address may be somebody's on the internet. */
function isOutside(world: World, address: string): boolean {
  const zero: Cidr = { base: 0, prefix: 8 }
  const single: Cidr = { base: parseIpv4(address) ?? 0, prefix: 32 }
  if (overlaps(zero, single) || NOT_PUBLIC.some((block) => isIn(address, block))) return false
  if (world.publicPool !== null && isIn(address, world.publicPool)) return false
  return !world.vpcs.some((vpc) => isInVpc(vpc, address))
}
