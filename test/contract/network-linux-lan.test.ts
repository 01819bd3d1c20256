import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createLab, type Guest, HOST_ADDRESS, type Lab, lackingForLab } from '../support/network-lab.ts'
import { all, group, specOf } from '../support/network-rig.ts'
import { noServer } from '../support/routing-rig.ts'
import { portSpec } from '../support/vpc-spec.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Public addresses on a LAN: not tested, since it needs ${lacking}.`)

/** A part of the network between the lab's host and the outside. */
const LAN_POOL = '203.0.113.128/28'
const OTHER_POOL = '198.18.4.0/22'

describe.skipIf(lacking !== undefined)('Public addresses on a LAN', { timeout: 60_000 }, () => {
  let lab: Lab
  let network: Network
  let guest: Guest
  const create = (publicPool: string, publicInterface: string | null) => createLinuxNetwork({
    homeId: lab.homeId, publicPool, publicInterface, clock: systemClock, log: silentLogger, exec: lab.exec, services: noServer,
  })
  const port = (publicIp: string | null) => portSpec({
    interfaceId: 'eni-01', subnetId: 'subnet-01', slot: 1, mac: '02:00:00:00:00:01', privateIp: '10.0.0.11', groupIds: ['sg-01'], publicIp,
  })
  const groups = [group('sg-01', [all])]

  async function start(pool: string, publicInterface: string | null, publicIp: string): Promise<void> {
    network = create(pool, publicInterface)
    await network.ensureHost()
    await network.syncVpc(specOf(groups, []))
    const netns = network.netnsPathOf(7)!.split('/').at(-1)!
    guest = await lab.guest(netns, network.tapOf(1), port(null), '10.0.0.1')
    await network.syncVpc(specOf(groups, [port(publicIp)]))
    await guest.serve(22)
    await lab.outside.serve(80)
    // Else the first ARP would wait for as long as its proxy may take.
    await lab.exec.host(['sh', '-c', 'echo 0 > /proc/sys/net/ipv4/neigh/eth0/proxy_delay'])
  }

  beforeEach(async () => {
    lab = await createLab()
  })
  afterEach(async () => {
    await network.removeAll()
    expect(await lab.exec.host(['ip', 'neigh', 'show', 'proxy'])).toBe('')
    await network.close()
    await lab.close()
  })

  it('are reached from there by ARP, and seen there, while they are in use', async () => {
    await start(LAN_POOL, 'eth0', '203.0.113.130')
    expect(await lab.outside.connects('203.0.113.130', 22)).toBe('203.0.113.99')
    expect(await guest.connects('203.0.113.99', 80)).toBe('203.0.113.130')
    expect(await lab.outside.pings('203.0.113.135')).toBe(false)
    await network.syncVpc(specOf(groups, [port('203.0.113.131')]), { ports: [port('203.0.113.131')], removed: [], groups: [] })
    expect(await lab.outside.pings('203.0.113.131')).toBe(true)
    await network.syncVpc(specOf(groups, []))
    expect(await lab.exec.host(['ip', 'neigh', 'show', 'proxy'])).toBe('')
    await expect(create('203.0.113.0/28', 'eth0').ensureHost()).rejects.toThrow('choose another pool')
  })

  it('are reached by a route, where the pool is no part of that network', async () => {
    await start(OTHER_POOL, 'eth0', '198.18.4.11')
    await lab.outside.run(['ip', 'route', 'add', OTHER_POOL, 'via', HOST_ADDRESS])
    expect(await lab.outside.connects('198.18.4.11', 22)).toBe('203.0.113.99')
    expect(await guest.connects('203.0.113.99', 80)).toBe(HOST_ADDRESS)
  })

  it('are the host\'s alone without a public interface', async () => {
    await start(OTHER_POOL, null, '198.18.4.11')
    await lab.outside.run(['ip', 'route', 'add', OTHER_POOL, 'via', HOST_ADDRESS])
    expect(await lab.outside.pings('198.18.4.11')).toBe(false)
    expect(await lab.host.pings('198.18.4.11')).toBe(true)
    await expect(create(OTHER_POOL, 'eth9').ensureHost()).rejects.toThrow('there is no interface eth9')
    await expect(create(LAN_POOL, null).ensureHost()).rejects.toThrow('choose another pool')
  })
})
