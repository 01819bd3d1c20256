import { describe, expect, it } from 'vitest'
import { vpcSpec } from '../../../test/support/vpc-spec.ts'
import { createNames } from './names.ts'
import { gatewayOf, renderVpcRules, resolversOf } from './vpc-rules.ts'

const names = createNames('0abc')
const empty = vpcSpec({ vpcId: 'vpc-1', slot: 1 })

describe('renderVpcRules', () => {
  it('gives the same marker to the same rules and another to others', () => {
    const { marker } = renderVpcRules(empty, names)
    expect(renderVpcRules(structuredClone(empty), names).marker).toBe(marker)
    const group = { groupId: 'sg-1', ingress: [], egress: [] }
    expect(renderVpcRules({ ...empty, groups: [group] }, names).marker).not.toBe(marker)
  })

  it('makes a set for a group that is only named as a peer', () => {
    const ingress = [{ protocol: '-1', fromPort: null, toPort: null, peer: { groupId: 'sg-9' } }]
    const { text } = renderVpcRules({ ...empty, groups: [{ groupId: 'sg-1', ingress, egress: [] }] }, names)
    expect(text).toContain('set m_sg_9 {\ntype ipv4_addr\n}')
    expect(text).toContain('chain gi_sg_1 {\nip saddr @m_sg_9 accept\n}')
  })
})

it('puts the router at base + 1 and the resolver at base + 2', () => {
  expect(gatewayOf('172.31.16.0/20')).toBe('172.31.16.1')
  expect(resolversOf({ ...empty, cidrs: ['172.31.0.0/16', '10.0.0.0/16'] })).toEqual(['172.31.0.2', '169.254.169.253'])
})
