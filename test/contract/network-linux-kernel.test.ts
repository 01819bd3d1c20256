import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network, VpcServices, VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createVpcServices } from '../../src/network/services/index.ts'
import { lackingForLab } from '../support/network-lab.ts'
import {
  all, anywhere, closed, createRig, group, other, POOL, port, ports, PUBLIC_1, type Rig, SLOT, specOf, tcp, VPC,
} from '../support/network-rig.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`The kernel's side of a VPC: not tested, since it needs ${lacking}.`)

const noServices: VpcServices = {
  leaseFor: async () => undefined,
  resolveName: async () => undefined,
  resolveAddress: async () => undefined,
  metadata: async () => ({ status: 404, headers: {}, body: Buffer.alloc(0) }),
}

describe.skipIf(lacking !== undefined)('What the Linux network makes in the kernel', { timeout: 120_000 }, () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await createRig()
  })
  afterAll(() => rig?.close())

  it('changes nothing when it is told the same again, by another process', async () => {
    await rig.sync([group('sg-01', []), group('sg-02', [tcp(22, 22, anywhere)]), group('sg-03', [])])
    const connection = await rig.guest(1).open('10.0.0.12', 22)
    // Handles tell a table that was replaced from one that was left alone.
    const before = await rig.inVpc(SLOT, 'nft', '-a', 'list', 'ruleset')
    await rig.restart()
    expect((await rig.network.list()).toSorted()).toEqual([VPC, 'vpc-0b2'])
    await rig.network.ensureHost()
    await rig.sync([group('sg-01', []), group('sg-02', [tcp(22, 22, anywhere)]), group('sg-03', [])])
    await rig.network.syncVpc(other)
    expect(await rig.inVpc(SLOT, 'nft', '-a', 'list', 'ruleset')).toBe(before)
    expect(await connection.echoes('through the restart')).toBe(true)
    const { stdout } = await rig.guest(1).run(['busybox', 'wget', '-q', '-O', '-', 'http://169.254.169.254/'])
    expect(stdout).toContain('10.0.0.11')
  })

  it('mends what somebody else broke', async () => {
    await rig.sync(closed)
    const before = await stateOf(SLOT)
    await rig.inVpc(SLOT, 'nft', 'flush', 'ruleset')
    await rig.inVpc(SLOT, 'ip', 'route', 'del', '10.0.0.12/32')
    await rig.inVpc(SLOT, 'ip', 'route', 'add', '10.0.0.77/32', 'dev', rig.network.tapOf(1))
    const third = rig.network.tapOf(3)
    await rig.inVpc(SLOT, 'ip', 'neigh', 'replace', '10.0.0.13', 'lladdr', '02:00:00:00:00:01', 'dev', third)
    await rig.inVpc(SLOT, 'ip', 'addr', 'del', '169.254.169.254/32', 'dev', 'lo')
    await rig.lab.exec.host(['ip', 'route', 'del', `${PUBLIC_1}/32`])
    await rig.sync(closed)
    expect(await stateOf(SLOT)).toEqual(before)
  })

  /** All of a VPC that the driver makes, without what differs from one making to the next. */
  async function stateOf(slot: number): Promise<string[]> {
    const within = (...command: string[]) => rig.inVpc(slot, ...command)
    const parts = await Promise.all([
      within('nft', 'list', 'ruleset'), within('ip', 'route'), within('ip', 'neigh', 'show', 'nud', 'permanent'),
      within('ip', '-br', 'addr'), rig.lab.exec.host(['ip', 'route', 'show', 'root', POOL]),
    ])
    return parts.map((part) => part.replaceAll(/@if\d+/g, '').replaceAll(/ +/g, ' ').split('\n').toSorted().join('\n'))
  }

  it('makes a tap that its machine alone may open, and takes it away again', async () => {
    const fresh = port(5, ['sg-01'])
    await rig.sync(closed, [...ports, fresh])
    const shown = JSON.parse(await rig.inVpc(SLOT, 'ip', '-d', '-j', 'link', 'show', 'dev', rig.network.tapOf(5)))[0]
    expect(shown.linkinfo.info_data).toMatchObject({ type: 'tap', persist: true, vnet_hdr: true, user: 1700000005 })
    expect(shown.mtu).toBe(1500)
    await rig.sync(closed)
    await expect(rig.inVpc(SLOT, 'ip', 'link', 'show', 'dev', rig.network.tapOf(5))).rejects.toThrow('does not exist')
    expect(await rig.inVpc(SLOT, 'nft', 'list', 'ruleset')).not.toContain(rig.network.tapOf(5))
  })

  it('refuses a spec that is not sound, and changes nothing', async () => {
    await rig.sync(closed)
    const before = await rig.inVpc(SLOT, 'nft', '-a', 'list', 'ruleset')
    const bad: VpcSpec[] = [
      specOf(closed, [{ ...ports[0]!, privateIp: '10.0.0.11; drop' }]),
      specOf(closed, [{ ...ports[0]!, groupIds: ['sg-99'] }]),
      specOf(closed, [ports[0]!, { ...ports[1]!, privateIp: ports[0]!.privateIp }]),
      specOf([group('sg-01', [{ ...all, protocol: 'gre accept' }])], []),
      { ...specOf([], []), cidrs: ['198.18.0.0/16'] },
    ]
    for (const spec of bad) await expect(rig.network.syncVpc(spec)).rejects.toThrow()
    expect(await rig.inVpc(SLOT, 'nft', '-a', 'list', 'ruleset')).toBe(before)
  })

  it('refuses a pool that the host uses already', async () => {
    const overlapping = createLinuxNetwork({
      homeId: rig.lab.homeId === 'ffff' ? 'eeee' : 'ffff', publicPool: '203.0.112.0/22', clock: systemClock,
      log: silentLogger, exec: rig.lab.exec,
      services: createVpcServices({ services: noServices, clock: systemClock, log: silentLogger, upstreamDns: [] }),
    })
    await expect(overlapping.ensureHost()).rejects.toThrow(/overlaps this host's .* choose another pool/)
    expect(await rig.lab.exec.host(['nft', 'list', 'tables'])).not.toMatch(/hearth_(ffff|eeee)/)
  })

  /** A driver whose process dies after its nth command. */
  function dyingAfter(nth: number) {
    let count = 0
    const cutting = <A extends unknown[]>(run: (...args: A) => Promise<string>) => async (...args: A) => {
      const own = ++count
      if (own > nth) throw new Error('cut short')
      return run(...args)
    }
    return rig.create({ host: cutting(rig.lab.exec.host), inside: cutting(rig.lab.exec.inside) })
  }

  /** How many commands it took `act` to come to its end, having been cut short after each of them. */
  async function cutEverywhere(act: (dying: Network) => Promise<void>, mend: () => Promise<void>): Promise<number> {
    for (let nth = 0; ; nth++) {
      const dying = dyingAfter(nth)
      const outcome = await act(dying).then(() => 'whole', (error: Error) => error.message)
      await dying.close()
      if (outcome === 'whole') return nth
      expect(outcome).toBe('cut short')
      await mend()
    }
  }

  it('ends in the same state wherever it is cut short', async () => {
    const spec = specOf(closed, [port(6, ['sg-01'], '198.18.4.16')], 'vpc-0c3', 9)
    await rig.network.syncVpc(spec)
    const whole = await stateOf(9)
    await rig.network.removeVpc('vpc-0c3')
    const makings = await cutEverywhere((dying) => dying.syncVpc(spec), async () => {
      await rig.network.syncVpc(spec)
      expect(await stateOf(9)).toEqual(whole)
      await rig.network.removeVpc('vpc-0c3')
    })
    expect(makings).toBeGreaterThan(10)
    await rig.network.close()
    const removals = await cutEverywhere((dying) => dying.removeVpc('vpc-0c3'), async () => {
      await rig.network.removeVpc('vpc-0c3')
      expect(await rig.network.list()).not.toContain('vpc-0c3')
      expect(await rig.lab.exec.host(['ip', '-br', 'link'])).not.toContain(`hv${rig.lab.homeId}.9`)
      await rig.network.syncVpc(spec)
      await rig.network.close()
    })
    expect(removals).toBeGreaterThan(3)
    expect(await rig.network.list()).not.toContain('vpc-0c3')
    // What was cut short before it had a VPC's id goes when the host is made ready again.
    await rig.lab.exec.host(['ip', 'netns', 'add', `hearth-${rig.lab.homeId}-11`])
    await rig.network.ensureHost()
    expect(await rig.lab.exec.host(['ip', 'netns', 'list'])).not.toContain(`hearth-${rig.lab.homeId}-11`)
  })

  it('turns forwarding off only when the last home goes', async () => {
    const forwarding = () => rig.lab.exec.host(['cat', '/proc/sys/net/ipv4/ip_forward'])
    const second = createLinuxNetwork({
      homeId: rig.lab.homeId === 'ffff' ? 'eeee' : 'ffff', publicPool: '198.18.8.0/22', clock: systemClock,
      log: silentLogger, exec: rig.lab.exec,
      services: createVpcServices({ services: noServices, clock: systemClock, log: silentLogger, upstreamDns: [] }),
    })
    await second.ensureHost()
    await rig.network.removeAll()
    expect(await forwarding()).toBe('1\n')
    // What the second home inherited outlives its own table's replacement.
    await second.ensureHost()
    await second.removeAll()
    expect(await forwarding()).toBe('0\n')
    await rig.network.ensureHost()
    await rig.sync(closed, [])
    await rig.network.syncVpc({ ...other, groups: [], ports: [] })
  })

  it('leaves nothing behind', async () => {
    await rig.network.removeVpc('vpc-0b2')
    await rig.network.removeVpc('vpc-0b2')
    expect(await rig.network.list()).toEqual([VPC])
    expect(await rig.lab.exec.host(['cat', '/proc/sys/net/ipv4/ip_forward'])).toBe('1\n')
    await rig.network.removeAll()
    expect(await rig.network.list()).toEqual([])
    expect(await rig.lab.exec.host(['ip', '-br', 'link'])).not.toContain(`hv${rig.lab.homeId}`)
    expect(await rig.lab.exec.host(['nft', 'list', 'ruleset'])).toBe('')
    expect(await rig.lab.exec.host(['ip', 'route', 'show', 'table', 'all'])).not.toContain('198.18.')
    expect(await rig.lab.exec.host(['cat', '/proc/sys/net/ipv4/ip_forward'])).toBe('0\n')
    expect(await rig.lab.exec.host(['ip', 'netns', 'list'])).not.toContain(`hearth-${rig.lab.homeId}`)
    await rig.network.removeAll()
  })
})
