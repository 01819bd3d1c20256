import { describe, expect, it } from 'vitest'
import type { RuleSpec } from '../driver.ts'
import { renderAclEntry, renderPermission } from './permission.ts'

const render = (rule: Partial<RuleSpec>, side: 'saddr' | 'daddr' = 'saddr') =>
  renderPermission(
    { protocol: '-1', fromPort: null, toPort: null, peer: { cidr: '0.0.0.0/0' }, ...rule }, side, (id) => `m_${id}`)

describe('renderPermission', () => {
  it.each<[string, Partial<RuleSpec>, string]>([
    ['everything', {}, 'accept'],
    ['one port', { protocol: 'tcp', fromPort: 22, toPort: 22 }, 'tcp dport 22 accept'],
    ['a range', { protocol: 'udp', fromPort: 1000, toPort: 2000 }, 'udp dport 1000-2000 accept'],
    ['all ports', { protocol: 'tcp', fromPort: 0, toPort: 65535 }, 'meta l4proto tcp accept'],
    ['any port, as -1', { protocol: '17', fromPort: -1, toPort: -1 }, 'meta l4proto udp accept'],
    ['a numbered protocol', { protocol: '50' }, 'meta l4proto 50 accept'],
    ['TCP by its number', { protocol: '6', fromPort: 80, toPort: 80 }, 'tcp dport 80 accept'],
    ['any ICMP', { protocol: 'icmp', fromPort: -1, toPort: -1 }, 'meta l4proto icmp accept'],
    ['an ICMP type', { protocol: 'icmp', fromPort: 8, toPort: -1 }, 'icmp type 8 accept'],
    ['an ICMP code', { protocol: '1', fromPort: 3, toPort: 4 }, 'icmp type 3 icmp code 4 accept'],
    ['a block with host bits', { peer: { cidr: '10.1.2.3/16' } }, 'ip saddr 10.1.0.0/16 accept'],
    ['a group', { peer: { groupId: 'sg-1' } }, 'ip saddr @m_sg-1 accept'],
  ])('%s', (_what, rule, expected) => {
    expect(render(rule)).toEqual([expected])
  })

  it('matches the other side for egress', () => {
    expect(render({ peer: { cidr: '10.0.0.0/8' } }, 'daddr')).toEqual(['ip daddr 10.0.0.0/8 accept'])
  })

  it('is no rule for an IPv6 block, which must not become "from everywhere"', () => {
    expect(render({ peer: { cidr: '::/0' } })).toEqual([])
  })
})

describe('renderAclEntry', () => {
  const entry = { ruleNumber: 100, protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '10.0.0.0/8' }

  it('passes on what it allows, to be judged by others, and drops what it denies', () => {
    expect(renderAclEntry({ ...entry, action: 'allow' }, 'saddr')).toEqual(['ip saddr 10.0.0.0/8 tcp dport 22 return'])
    expect(renderAclEntry({ ...entry, action: 'deny' }, 'daddr')).toEqual(['ip daddr 10.0.0.0/8 tcp dport 22 drop'])
  })

  it('is no rule for an IPv6 block', () => {
    expect(renderAclEntry({ ...entry, action: 'allow', cidr: '::/0' }, 'saddr')).toEqual([])
  })
})
