import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network, PortSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createLinuxPorts } from '../../src/network/linux/ports.ts'
import { createLab, type Guest, type Lab, lackingForLab } from '../support/network-lab.ts'
import { all, GATEWAY, group, POOL, SLOT, specOf, VPC } from '../support/network-rig.ts'
import { noServer } from '../support/routing-rig.ts'
import { portSpec } from '../support/vpc-spec.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Guests that are asked for a sign of life: not tested, since it needs ${lacking}.`)

const port = (slot: number, change: Partial<PortSpec> = {}) => portSpec({
  interfaceId: `eni-0${slot}`, subnetId: 'subnet-01', slot, mac: `02:00:00:00:00:0${slot}`, privateIp: `10.0.0.1${slot}`,
  groupIds: ['sg-01'], publicIp: null, ...change,
})
const GROUPS = [group('sg-01', [all])]
/** 1 and 3 answer, 3 forwards packets of others; the kernel of 2 does not answer, 4 took another's address. */
const PORTS = [port(1), port(2), port(3, { sourceDestCheck: false }), port(4)]
const ANSWERING = [PORTS[0]!, PORTS[2]!]

describe.skipIf(lacking !== undefined)('Guests that are asked for a sign of life', { timeout: 60_000 }, () => {
  let lab: Lab
  let network: Network
  const guests: Guest[] = []
  const create = () => createLinuxNetwork({
    homeId: lab.homeId, publicPool: POOL, clock: systemClock, log: silentLogger, exec: lab.exec, services: noServer,
  })
  const netns = () => network.netnsPathOf(SLOT)!.split('/').at(-1)!
  const ask = (ports: PortSpec[]) => network.askPorts({ vpcId: VPC, slot: SLOT }, ports)
  /** Neighbour entries of guests that are not permanent. */
  const loose = async () => {
    const listed = JSON.parse(await lab.exec.inside(netns(), ['ip', '-j', 'neigh', 'show'])) as { dst: string; state: string[] }[]
    return listed.filter((each) => each.dst.startsWith('10.0.0.') && !each.state.includes('PERMANENT')).map((each) => each.dst)
  }

  beforeAll(async () => {
    lab = await createLab()
    network = create()
    await network.ensureHost()
    await network.syncVpc(specOf(GROUPS, []))
    for (const each of PORTS) guests.push(await lab.guest(netns(), network.tapOf(each.slot), each, GATEWAY))
    await network.syncVpc(specOf(GROUPS, PORTS))
    await guests[1]!.run(['ip', 'link', 'set', 'dev', 'eth0', 'arp', 'off'])
    await guests[3]!.run(['ip', 'addr', 'flush', 'dev', 'eth0'])
    await guests[3]!.run(['ip', 'addr', 'add', '10.0.0.11/20', 'dev', 'eth0'])
  })
  afterAll(async () => {
    await network?.removeAll()
    await network?.close()
    await lab?.close()
  })

  it('answer or not, and no packet of theirs is lost meanwhile', async () => {
    const begun = Date.now()
    // As long as the silent ones are waited for.
    const echoes = guests[0]!.run(['busybox', 'ping', '-q', '-c', '35', '-i', '0.1', '-W', '1', '10.0.0.13'])
    // One that is dead is not alive because somebody calls it.
    const calls = guests[2]!.run(['busybox', 'ping', '-q', '-c', '25', '-i', '0.2', '-W', '1', '10.0.0.12']).catch(() => {})
    const answers = await ask([...PORTS, port(9)])
    expect(answers).toEqual(new Map([['eni-01', true], ['eni-02', false], ['eni-03', true], ['eni-04', false]]))
    expect(Date.now() - begun).toBeLessThan(8_000)
    expect((await echoes).stdout).toContain('35 packets received, 0% packet loss')
    await calls
    expect(await loose()).toEqual([])
  })

  it('answer within a moment when all do', async () => {
    const begun = Date.now()
    expect(await ask(ANSWERING)).toEqual(new Map([['eni-01', true], ['eni-03', true]]))
    expect(Date.now() - begun).toBeLessThan(2_000)
    expect(await loose()).toEqual([])
  })

  it('are asked by the processes of several zones at once, which make nothing themselves', async () => {
    const zones = [0, 1].map(() => createLinuxPorts({ homeId: lab.homeId, clock: systemClock, exec: lab.exec }))
    const asked = await Promise.all(zones.map((zone, index) => zone.askPorts({ vpcId: VPC, slot: SLOT }, PORTS.slice(2 * index, 2 * index + 2))))
    expect(asked).toEqual([new Map([['eni-01', true], ['eni-02', false]]), new Map([['eni-03', true], ['eni-04', false]])])
    expect(await loose()).toEqual([])
    for (const zone of zones) {
      expect([zone.tapOf(3), zone.netnsPathOf(SLOT), await zone.list()]).toEqual([network.tapOf(3), network.netnsPathOf(SLOT), []])
      await expect(zone.removeAll()).rejects.toThrow("the network of a node is its own agent's")
    }
  })

  it('are answered for though another vanishes while they are asked, which is not', async () => {
    const gone = ['10.0.0.11', 'dev', network.tapOf(1)]
    let hasVanished = false
    const inside: Lab['exec']['inside'] = async (name, command, input) => {
      if (command.includes('-batch') && !hasVanished) {
        hasVanished = true
        await lab.exec.inside(name, ['ip', 'neigh', 'del', ...gone])
      }
      return lab.exec.inside(name, command, input)
    }
    const zone = createLinuxPorts({ homeId: lab.homeId, clock: systemClock, exec: { ...lab.exec, inside } })
    expect(await zone.askPorts({ vpcId: VPC, slot: SLOT }, ANSWERING)).toEqual(new Map([['eni-03', true]]))
    expect([hasVanished, await loose()]).toEqual([true, []])
    await lab.exec.inside(netns(), ['ip', 'neigh', 'replace', ...gone, 'lladdr', PORTS[0]!.mac, 'nud', 'permanent'])
  })

  it('are reached as before when their machine was ended and started while they were asked', async () => {
    const listed = async () => (await lab.exec.inside(netns(), ['ip', 'neigh', 'show', '10.0.0.12'])).trim()
    const before = await listed()
    expect(before).toContain('PERMANENT')
    const asked = ask([PORTS[1]!])
    while ((await listed()).includes('PERMANENT')) await systemClock.sleep(20)
    // With its carrier the kernel forgets what is not permanent.
    await guests[1]!.run(['ip', 'link', 'set', 'dev', 'eth0', 'down'])
    expect(await listed()).toBe('')
    await guests[1]!.run(['ip', 'link', 'set', 'dev', 'eth0', 'up'])
    await asked
    expect(await listed()).toBe(before)
  })

  it('are not waited for by a change of their VPC, which wins', async () => {
    const asked = ask([PORTS[0]!, PORTS[1]!])
    const begun = Date.now()
    await network.syncVpc(specOf(GROUPS, ANSWERING), { ports: [], removed: ['eni-02'], groups: [] })
    await network.syncVpc(specOf(GROUPS, ANSWERING))
    expect(Date.now() - begun).toBeLessThan(2_500)
    expect((await asked).get('eni-02')).toBeUndefined()
    expect(await loose()).toEqual([])
    expect(await ask([PORTS[1]!])).toEqual(new Map())
  })

  it('whose asking was cut short are as before after the next sync', async () => {
    await lab.exec.inside(netns(), ['ip', 'neigh', 'change', '10.0.0.11', 'lladdr', PORTS[0]!.mac, 'dev', network.tapOf(1), 'nud', 'probe'])
    expect(await loose()).toEqual(['10.0.0.11'])
    await network.close()
    network = create()
    await network.syncVpc(specOf(GROUPS, ANSWERING))
    expect(await loose()).toEqual([])
  })

  it('of a VPC that is gone say nothing', async () => {
    await network.removeVpc(VPC)
    expect(await ask(PORTS)).toEqual(new Map())
  })
})
