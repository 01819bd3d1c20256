import type { IpPermission } from '@aws-sdk/client-ec2'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ApiError } from '../../src/core/errors.ts'
import {
  authorizeSecurityGroupEgress, authorizeSecurityGroupIngress,
} from '../../src/ec2/authorize-security-group-rules.ts'
import { describeSecurityGroupRules } from '../../src/ec2/describe-security-group-rules.ts'
import { revokeSecurityGroupEgress, revokeSecurityGroupIngress } from '../../src/ec2/revoke-security-group-rules.ts'
import { createSecurityGroup, describeSecurityGroups } from '../../src/ec2/security-groups.ts'
import { openMemoryAccount, type MemoryAccount } from '../support/memory-account.ts'

/**
 * A group as a set of rules: what a call adds or takes away is decided here by a set's rules, in a
 * few lines, and must be what the handlers do. Few different rules are drawn, so that they collide.
 */
interface DrawnRule {
  protocol: { spellings: string[]; hasPorts: boolean }
  port: number
  /** The same block in several forms. */
  peer: { spellings: string[]; ipv6: boolean }
  spelling: number
  isBad: boolean
}

interface DrawnCall {
  verb: 'authorize' | 'revoke'
  isEgress: boolean
  group: 'near' | 'far'
  rules: DrawnRule[]
}

const PROTOCOLS = [
  { spellings: ['tcp', 'TCP', '6'], hasPorts: true }, { spellings: ['udp', '17'], hasPorts: true },
  { spellings: ['-1', 'all'], hasPorts: false }, { spellings: ['50', '050'], hasPorts: false },
]
const PEERS = [
  { spellings: ['0.0.0.0/0', '1.2.3.4/0'], ipv6: false }, { spellings: ['10.0.0.0/8', '10.20.30.40/8'], ipv6: false },
  { spellings: ['::/0', '1::/0'], ipv6: true },
]

const rule = fc.record<DrawnRule>({
  protocol: fc.constantFrom(...PROTOCOLS), port: fc.constantFrom(22, 80), peer: fc.constantFrom(...PEERS),
  spelling: fc.nat(),
  isBad: fc.integer({ max: 20, min: 1 }).map((n) => n === 1),
})
const call = fc.record<DrawnCall>({
  verb: fc.constantFrom('authorize', 'revoke'), isEgress: fc.boolean(), group: fc.constantFrom('near', 'far'),
  rules: fc.array(rule, { minLength: 1, maxLength: 3 }),
})

const pick = (values: string[], at: number) => values[at % values.length] ?? ''
const keyOf = ({ protocol, port, peer }: DrawnRule) =>
  `${protocol.spellings[0]} ${protocol.hasPorts ? port : -1} ${peer.spellings[0]}`

function permissionOf({ protocol, port, peer, spelling, isBad }: DrawnRule): IpPermission {
  const block = isBad ? '10.0.0.0/33' : pick(peer.spellings, spelling)
  return {
    IpProtocol: pick(protocol.spellings, spelling), FromPort: port, ToPort: port,
    ...(peer.ipv6 ? { Ipv6Ranges: [{ CidrIpv6: block }] } : { IpRanges: [{ CidrIp: block }] }),
  }
}

/** What the model makes of a call: the rules after it, or the code of its error. */
function expected(present: ReadonlySet<string>, { verb, group, rules }: DrawnCall): Set<string> | string {
  const keys = new Set(rules.map(keyOf))
  if (rules.some((each) => each.isBad) || keys.size < rules.length) return 'InvalidParameterValue'
  const known = [...keys].filter((key) => present.has(key))
  if (verb === 'authorize') {
    return known.length > 0 ? 'InvalidPermission.Duplicate' : new Set([...present, ...keys])
  }
  // The default VPC is documented to revoke what it finds; another does all or nothing.
  if (known.length < keys.size && group === 'far') return 'InvalidPermission.NotFound'
  return new Set([...present].filter((key) => !keys.has(key)))
}

const handlers = {
  authorize: { ingress: authorizeSecurityGroupIngress, egress: authorizeSecurityGroupEgress },
  revoke: { ingress: revokeSecurityGroupIngress, egress: revokeSecurityGroupEgress },
}

async function perform(account: MemoryAccount, groupId: string, drawn: DrawnCall): Promise<string | undefined> {
  const handler = handlers[drawn.verb][drawn.isEgress ? 'egress' : 'ingress']
  try {
    await account.call(handler, { GroupId: groupId, IpPermissions: drawn.rules.map(permissionOf) })
    return undefined
  } catch (error) {
    if (error instanceof ApiError) return error.code
    throw error
  }
}

/** The group's rules as DescribeSecurityGroupRules has them. */
async function shownRules(account: MemoryAccount, groupId: string, isEgress: boolean): Promise<string[]> {
  const { SecurityGroupRules: rules = [] } = await account.call(describeSecurityGroupRules,
    { Filters: [{ Name: 'group-id', Values: [groupId] }] })
  return rules.filter((each) => each.IsEgress === isEgress)
    .map((each) => `${each.IpProtocol} ${each.FromPort} ${each.CidrIpv4 ?? each.CidrIpv6}`).toSorted()
}

/** The same, as DescribeSecurityGroups has them. */
async function shownPermissions(account: MemoryAccount, groupId: string, isEgress: boolean): Promise<string[]> {
  const { SecurityGroups: [group] = [] } = await account.call(describeSecurityGroups, { GroupIds: [groupId] })
  const permissions = (isEgress ? group?.IpPermissionsEgress : group?.IpPermissions) ?? []
  return permissions.flatMap((each) => [
    ...(each.IpRanges ?? []).map((range) => range.CidrIp), ...(each.Ipv6Ranges ?? []).map((range) => range.CidrIpv6),
  ].map((block) => `${each.IpProtocol} ${each.FromPort ?? -1} ${block}`)).toSorted()
}

describe('rules of a security group', () => {
  it('are a set: what is authorized is in it until it is revoked, and a call that fails changes nothing', async () => {
    await fc.assert(fc.asyncProperty(fc.array(call, { maxLength: 12 }), async (calls) => {
      const account = await openMemoryAccount()
      try {
        await account.addVpc('vpc-0123456789abcdef0')
        const create = async (VpcId?: string) =>
          (await account.call(createSecurityGroup, { GroupName: 'g', Description: 'x', VpcId })).GroupId ?? ''
        const ids = { near: await create(), far: await create('vpc-0123456789abcdef0') }
        const model = new Map<string, Set<string>>()
        for (const drawn of calls) {
          const key = `${drawn.group} ${drawn.isEgress}`
          const present = model.get(key) ?? new Set(drawn.isEgress ? ['-1 -1 0.0.0.0/0'] : [])
          const outcome = expected(present, drawn)
          const failure = await perform(account, ids[drawn.group], drawn)
          expect(failure).toBe(typeof outcome === 'string' ? outcome : undefined)
          const after = typeof outcome === 'string' ? present : outcome
          model.set(key, after)
          expect(await shownRules(account, ids[drawn.group], drawn.isEgress)).toEqual([...after].toSorted())
          expect(await shownPermissions(account, ids[drawn.group], drawn.isEgress)).toEqual([...after].toSorted())
        }
      } finally {
        await account.store.close()
      }
    }), { numRuns: 60 })
  })
})
