import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { lackingForLab, OUTSIDE_ADDRESS } from '../support/network-lab.ts'
import { closed, createRig, GATEWAY, ports, PUBLIC_1, type Rig } from '../support/network-rig.ts'
import { AWAY, createRoutingRig, HOME, noServer, peered, PUBLIC, type RoutingRig, withPort } from '../support/routing-rig.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Ports that are cut: not tested, since it needs ${lacking}.`)

const PRIVATE_1 = '10.0.0.11'
const PRIVATE_4 = '10.0.0.14'
const cut = (spec: VpcSpec, slot: number) => withPort(spec, slot, { isCut: true })

describe.skipIf(lacking !== undefined)('Ports that are cut on Linux', { timeout: 60_000 }, () => {
  let rig: RoutingRig
  beforeAll(async () => {
    rig = await createRoutingRig()
  }, 60_000)
  afterAll(() => rig?.close())
  afterEach(() => rig.network.syncVpc(HOME))

  const guest = (slot: number) => rig.guest(slot)
  const rules = () => rig.inVpc(HOME.slot, 'nft', 'list', 'ruleset')
  const inside = (...words: string[]) => rig.inVpc(HOME.slot, ...words)
  /** All of the kernel's but the rules. */
  const surroundings = async () => [
    await inside('ip', '-o', 'addr'), await inside('ip', 'route', 'show', 'table', 'all'), await inside('ip', 'neigh', 'show', 'nud', 'permanent'),
  ].map((text) => text.split('\n').toSorted())

  it('let nothing pass, whoever sends it, and all as before when they are joined again', async () => {
    const before = { rules: await rules(), surroundings: await surroundings() }
    const passes = async () => [
      await guest(1).pings(PRIVATE_4), await guest(4).pings(PRIVATE_1), await guest(1).pings(OUTSIDE_ADDRESS), await guest(1).pings('10.0.0.1'),
      await rig.lab.host.pings(PUBLIC), await guest(2).pings(PRIVATE_1),
    ]
    expect(new Set(await passes())).toEqual(new Set([true]))
    await rig.network.syncVpc({ ...HOME, ports: cut(HOME, 1) })
    expect(new Set(await passes())).toEqual(new Set([false]))
    expect(await surroundings()).toEqual(before.surroundings)
    // The others do not notice.
    expect([await guest(4).pings('10.0.0.13'), await guest(2).connects(PRIVATE_4, 22)]).toEqual([true, '10.0.16.12'])
    await rig.network.syncVpc(HOME)
    expect(new Set(await passes())).toEqual(new Set([true]))
    expect(await rules()).toBe(before.rules)
  })

  it('are cut and joined by a change of themselves alone, which leaves what a whole making does', async () => {
    const whole = await rules()
    for (const slots of [[1], [1, 3], [3], []]) {
      const spec = { ...HOME, ports: slots.reduce((list, slot) => withPort({ ...HOME, ports: list }, slot, { isCut: true }), HOME.ports) }
      await rig.network.syncVpc(spec, { ports: spec.ports, removed: [], groups: [] })
      expect([await guest(4).pings(PRIVATE_1), await guest(4).pings('10.0.0.13')]).toEqual([!slots.includes(1), !slots.includes(3)])
    }
    const sorted = (text: string) => text.split('\n').map((line) => line.trim()).toSorted()
    expect(sorted(await rules())).toEqual(sorted(whole))
  })

  it('stop a connection that is there, which goes on when they are joined in time', async () => {
    const connection = await guest(4).open(PRIVATE_1, 22)
    expect(await connection.echoes('before')).toBe(true)
    await rig.network.syncVpc({ ...HOME, ports: cut(HOME, 1) }, { ports: cut(HOME, 1), removed: [], groups: [] })
    expect(await connection.echoes('while')).toBe(false)
    await rig.network.syncVpc(HOME, { ports: HOME.ports, removed: [], groups: [] })
    expect(await connection.echoes('after')).toBe(true)
  })

  it('have nobody behind them who answers, and are not heard asking', async () => {
    const asked = [HOME.ports[0]!, HOME.ports[3]!]
    const arps = async () => (await guest(1).run(['busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '10.0.0.1'])).code === 0
    expect(await arps()).toBe(true)
    await rig.network.syncVpc({ ...HOME, ports: cut(HOME, 1) })
    expect(await arps()).toBe(false)
    expect(await rig.network.askPorts(HOME, asked)).toEqual(new Map([['eni-01', false], ['eni-04', true]]))
    await rig.network.syncVpc(HOME)
    expect(await rig.network.askPorts(HOME, asked)).toEqual(new Map([['eni-01', true], ['eni-04', true]]))
  })

  it('are cut for a peered VPC, too', async () => {
    const [home, away] = peered()
    await rig.network.syncVpc(home)
    await rig.network.syncVpc(away)
    expect([await guest(5).pings(PRIVATE_1), await guest(1).pings('10.2.0.15')]).toEqual([true, true])
    await rig.network.syncVpc({ ...away, ports: cut(away, 5) })
    expect([await guest(5).pings(PRIVATE_1), await guest(1).pings('10.2.0.15')]).toEqual([false, false])
    await rig.network.syncVpc(HOME)
    await rig.network.syncVpc(AWAY)
  })

  it('stay so whatever becomes of the agent, and are joined by the next one', async () => {
    const later = () => createLinuxNetwork({
      homeId: rig.lab.homeId, publicPool: '198.18.4.0/22', clock: systemClock, log: silentLogger, exec: rig.lab.exec, services: noServer,
    })
    await rig.network.syncVpc({ ...HOME, ports: cut(HOME, 1) })
    const whileCut = await rules()
    await later().syncVpc({ ...HOME, ports: cut(HOME, 1) })
    expect(await rules()).toBe(whileCut)
    expect(await guest(4).pings(PRIVATE_1)).toBe(false)
    await later().syncVpc(HOME)
    expect(await guest(4).pings(PRIVATE_1)).toBe(true)
  })

  it('are those of a NAT gateway as well, which hides nobody meanwhile', async () => {
    const gateways = async () => (await rig.lab.exec.host(['ip', 'netns', 'list'])).split('\n').filter((line) => line.includes(`hearthnat-${rig.lab.homeId}`))
    const before = await gateways()
    expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(true)
    await rig.network.syncVpc({ ...HOME, natGateways: HOME.natGateways.map((nat) => ({ ...nat, isCut: true })) })
    expect([await guest(2).pings(OUTSIDE_ADDRESS), await guest(2).connects(PUBLIC, 22)]).toEqual([false, undefined])
    expect([await guest(2).pings(PRIVATE_1), await guest(1).pings(OUTSIDE_ADDRESS)]).toEqual([true, true])
    await rig.network.syncVpc(HOME)
    expect(await guest(2).pings(OUTSIDE_ADDRESS)).toBe(true)
    // It was not made anew.
    expect(await gateways()).toEqual(before)
  })
})

describe.skipIf(lacking !== undefined)('Services of a VPC behind a port that is cut', { timeout: 60_000 }, () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await createRig()
  }, 60_000)
  afterAll(() => rig?.close())

  it('hear nothing and answer nothing', async () => {
    const get = async () => (await rig.guest(1).run(['busybox', 'timeout', '2', 'busybox', 'wget', '-q', '-O', '-', 'http://169.254.169.254/latest/'])).stdout
    const looksUp = async () => (await rig.guest(1).run(
      ['busybox', 'timeout', '2', 'busybox', 'nslookup', '-type=a', 'ip-10-0-0-12.ec2.internal', '10.0.0.2'])).stdout.includes('10.0.0.12')
    const leases = async () => {
      rig.leasesAsked.length = 0
      await rig.guest(1).run(['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '2', '-T', '1', '-s', '/bin/true'])
      return rig.leasesAsked.length > 0
    }
    const all = async () => [await get(), await looksUp(), await leases(), await rig.guest(1).pings(GATEWAY), await rig.lab.outside.pings(PUBLIC_1)]
    await rig.sync(closed)
    expect(await all()).toEqual([expect.stringContaining('10.0.0.11'), true, true, true, false])
    await rig.sync(closed, [{ ...ports[0]!, isCut: true }, ...ports.slice(1)])
    expect(await all()).toEqual(['', false, false, false, false])
    expect((await rig.guest(2).run(['busybox', 'wget', '-q', '-O', '-', 'http://169.254.169.254/latest/'])).stdout).toContain('10.0.0.12')
  })
})
