import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HOST_ADDRESS, lackingForLab, OUTSIDE_ADDRESS } from '../support/network-lab.ts'
import {
  all, anywhere, closed, createRig, GATEWAY, group, icmp, POOL, ports, PUBLIC_1, PUBLIC_2, PUBLIC_4, type Rig, tcp,
} from '../support/network-rig.ts'
import type { RuleSpec } from '../../src/network/driver.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Packets of guests: not tested, since it needs ${lacking}.`)

describe.skipIf(lacking !== undefined)('Packets of guests on Linux', { timeout: 120_000 }, () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await createRig()
  })
  afterAll(() => rig?.close())

  it('answers echo at the gateway, at once', async () => {
    const { stdout } = await rig.guest(1).run(['busybox', 'ping', '-c', '1', '-W', '1', GATEWAY])
    expect(Number(/time=([\d.]+) ms/.exec(stdout)?.[1])).toBeLessThan(500)
  })

  it('lets nothing in by default, and what a group allows and no more', async () => {
    await rig.sync(closed)
    expect(await rig.guest(1).pings('10.0.0.12')).toBe(false)
    expect(await rig.guest(1).connects('10.0.0.12', 22)).toBeUndefined()
    await rig.sync([group('sg-01', []), group('sg-02', [tcp(22, 22, anywhere)]), group('sg-03', [])])
    expect(await rig.guest(1).connects('10.0.0.12', 22)).toBe('10.0.0.11')
    expect(await rig.guest(1).connects('10.0.0.12', 23)).toBeUndefined()
    expect(await rig.guest(1).pings('10.0.0.12')).toBe(false)
  })

  it('lets in the members of a group that a rule names, and nobody else', async () => {
    await rig.sync([group('sg-01', []), group('sg-02', []), group('sg-03', [icmp({ groupId: 'sg-02' })])])
    expect(await rig.guest(2).pings('10.0.0.13')).toBe(true)
    expect(await rig.guest(1).pings('10.0.0.13')).toBe(false)
    const joined = ports.map((each) => (each.slot === 1 ? { ...each, groupIds: ['sg-01', 'sg-02'] } : each))
    await rig.sync([group('sg-01', []), group('sg-02', []), group('sg-03', [icmp({ groupId: 'sg-02' })])], joined)
    expect(await rig.guest(1).pings('10.0.0.13')).toBe(true)
  })

  it('tells ICMP types and ranges of ports apart, and takes overlapping blocks', async () => {
    const rules: RuleSpec[] = [
      { protocol: 'icmp', fromPort: 13, toPort: -1, peer: anywhere },
      tcp(20, 22, { cidr: '10.0.0.0/20' }), tcp(22, 22, { cidr: '10.0.0.0/16' }), tcp(22, 22, anywhere),
    ]
    await rig.sync([group('sg-01', []), group('sg-02', rules), group('sg-03', [])])
    expect(await rig.guest(1).pings('10.0.0.12')).toBe(false)
    expect(await rig.guest(1).connects('10.0.0.12', 22)).toBe('10.0.0.11')
    expect(await rig.guest(1).connects('10.0.0.12', 23)).toBeUndefined()
    const echo: RuleSpec = { protocol: '1', fromPort: 8, toPort: 0, peer: anywhere }
    await rig.sync([group('sg-01', []), group('sg-02', [echo]), group('sg-03', [])])
    expect(await rig.guest(1).pings('10.0.0.12')).toBe(true)
  })

  it('holds the sender to its egress rules', async () => {
    const open = group('sg-02', [all])
    await rig.sync([group('sg-01', [], []), open, group('sg-03', [])])
    expect(await rig.guest(1).pings('10.0.0.12')).toBe(false)
    await rig.sync([group('sg-01', [], [tcp(22, 22, { groupId: 'sg-02' })]), open, group('sg-03', [])])
    expect(await rig.guest(1).connects('10.0.0.12', 22)).toBe('10.0.0.11')
    expect(await rig.guest(1).connects('10.0.0.12', 23)).toBeUndefined()
  })

  it('applies a change at once, while an established connection goes on', async () => {
    await rig.sync([group('sg-01', []), group('sg-02', [tcp(22, 22, anywhere)]), group('sg-03', [])])
    const connection = await rig.guest(1).open('10.0.0.12', 22)
    await rig.sync(closed)
    expect(await rig.guest(1).connects('10.0.0.12', 22)).toBeUndefined()
    expect(await connection.echoes('still here')).toBe(true)
  })

  it('drops forged addresses, of IP and of Ethernet', async () => {
    await rig.sync([group('sg-01', []), group('sg-02', [all]), group('sg-03', [])])
    const device = (...args: string[]) => rig.guest(1).run(['ip', ...args])
    expect(await rig.guest(1).pings('10.0.0.12', '10.0.0.11')).toBe(true)
    await device('addr', 'add', '10.0.0.99/32', 'dev', 'eth0')
    const counted = await rig.countIn(2, 'ip saddr 10.0.0.99', () => rig.guest(1).pings('10.0.0.12', '10.0.0.99'))
    expect(counted).toBe(0)
    await device('addr', 'del', '10.0.0.99/32', 'dev', 'eth0')
    await device('link', 'set', 'dev', 'eth0', 'address', '02:aa:aa:aa:aa:aa')
    expect(await rig.countIn(2, 'ip saddr 10.0.0.11', () => rig.guest(1).pings('10.0.0.12'))).toBe(0)
    await device('link', 'set', 'dev', 'eth0', 'address', ports[0]!.mac)
    expect(await rig.countIn(2, 'ip saddr 10.0.0.11', () => rig.guest(1).pings('10.0.0.12'))).toBe(1)
  })

  it('reaches a public address from the host and from other VPCs, as the groups allow', async () => {
    await rig.sync(closed)
    expect(await rig.hostPings(PUBLIC_2)).toBe(false)
    await rig.sync([group('sg-01', []), group('sg-02', [all]), group('sg-03', [])])
    expect(await rig.hostPings(PUBLIC_2)).toBe(true)
    // The other VPC has the same block and another guest at the same private addresses.
    expect(await rig.guest(4).connects(PUBLIC_2, 22)).toBe(PUBLIC_4)
    expect(await rig.guest(4).pings('10.0.0.12')).toBe(false)
    expect(await rig.guest(1).pings(PUBLIC_4)).toBe(true)
  })

  it('reaches a public address from inside the same VPC, its own included', async () => {
    const ssh = [tcp(22, 22, anywhere)]
    await rig.sync([group('sg-01', ssh), group('sg-02', ssh), group('sg-03', [])])
    expect(await rig.guest(1).connects(PUBLIC_2, 22)).toBe(PUBLIC_1)
    expect(await rig.guest(1).connects(PUBLIC_1, 22)).toBe(PUBLIC_1)
    expect(await rig.guest(1).connects(PUBLIC_1, 23)).toBeUndefined()
  })

  it('lets guests out under their public address, hidden behind the host; without one, not at all', async () => {
    await rig.sync(closed)
    expect(await rig.guest(1).connects(OUTSIDE_ADDRESS, 80)).toBe(HOST_ADDRESS)
    expect(await rig.guest(3).connects(OUTSIDE_ADDRESS, 80)).toBeUndefined()
    const withdrawn = ports.map((each) => ({ ...each, publicIp: null }))
    await rig.sync(closed, withdrawn)
    expect(await rig.guest(1).connects(OUTSIDE_ADDRESS, 80)).toBeUndefined()
    expect(await rig.lab.exec.host(['ip', 'route', 'show', 'root', POOL])).not.toContain(PUBLIC_1)
  })

  it('keeps packets for unassigned public addresses on the host', async () => {
    const sent = await rig.countIn(0, `ip daddr ${POOL}`, () => rig.hostPings('198.18.4.200'))
    expect(sent).toBe(0)
    await expect(rig.lab.exec.host(['ip', 'route', 'get', '198.18.4.200'])).rejects.toThrow(/unreachable|No route/)
  })

  it('does not let guests reach the host, apart from echo', async () => {
    await rig.sync(closed)
    await rig.lab.host.serve(8773)
    expect(await rig.guest(0).connects(HOST_ADDRESS, 8773)).toBe(OUTSIDE_ADDRESS)
    for (const address of ['100.64.0.1', HOST_ADDRESS]) {
      expect(await rig.guest(1).connects(address, 8773)).toBeUndefined()
      expect(await rig.guest(3).connects(address, 8773)).toBeUndefined()
    }
    expect(await rig.guest(1).pings(HOST_ADDRESS)).toBe(true)
  })
})
