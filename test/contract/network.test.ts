import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import type { Network, PortSpec, VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createSimNetwork, createSimNetworkWorld } from '../../src/network/sim.ts'
import type { VpcServicesServer } from '../../src/network/services-server.ts'
import { createLab, lackingForLab } from '../support/network-lab.ts'
import { portSpec, subnetSpec, vpcSpec } from '../support/vpc-spec.ts'

/** One host: drivers come and go over it, as agents restart. */
interface TestHost {
  create(): Network
  /** Private addresses of the ports that are in force, in order. */
  addresses(vpcSlot: number): Promise<string[]>
  close(): Promise<void>
}

/** Services that only remember what is open; the real ones are tested with guests. */
function recordingServices(): VpcServicesServer {
  const open = new Set<string>()
  return {
    async open(vpcId) {
      open.add(vpcId)
    },
    async close(vpcId) {
      open.delete(vpcId)
    },
    async closeAll() {
      open.clear()
    },
  }
}

async function simHost(): Promise<TestHost> {
  const world = createSimNetworkWorld()
  return {
    create: () => createSimNetwork({ clock: systemClock, random: seededRandom(7), delays: { syncMs: [0, 20] }, world }),
    addresses: async (vpcSlot) => {
      const vpc = [...world.vpcs.values()].find((each) => each.slot === vpcSlot)
      return world.ports().filter((port) => port.vpcId === vpc?.vpcId).map((port) => port.privateIp).toSorted()
    },
    close: async () => {},
  }
}

async function linuxHost(): Promise<TestHost> {
  const lab = await createLab()
  const create = () => createLinuxNetwork({
    homeId: lab.homeId, publicPool: '198.18.4.0/22', clock: systemClock, log: silentLogger, exec: lab.exec,
    services: recordingServices(),
  })
  return {
    create,
    async addresses(vpcSlot) {
      const netns = create().netnsPathOf(vpcSlot)!.split('/').at(-1)!
      const routes = await lab.exec.inside(netns, ['ip', 'route'])
      return routes.split('\n').flatMap((line) => /^(\S+) dev t/.exec(line)?.[1] ?? []).toSorted()
    },
    close: () => lab.close(),
  }
}

const port = (slot: number): PortSpec => portSpec({
  interfaceId: `eni-${slot}`, subnetId: 'subnet-1', slot, mac: `02:00:00:00:00:0${slot}`,
  privateIp: `172.31.0.1${slot}`, publicIp: `198.18.4.${slot}`, groupIds: ['sg-1'], metadataHopLimit: 2,
})

const vpc = (slot: number, ports: PortSpec[]): VpcSpec => vpcSpec({
  vpcId: `vpc-${slot}`, slot, cidrs: ['172.31.0.0/16'], subnets: [subnetSpec('subnet-1', '172.31.0.0/20')],
  groups: [{ groupId: 'sg-1', ingress: [], egress: [] }], ports,
})

const lacking = lackingForLab()

describe.each([
  { name: 'sim', start: simHost, skip: false },
  { name: 'linux', start: linuxHost, skip: lacking !== undefined },
])('Network: $name', ({ start, skip }) => {
  describe.skipIf(skip)('on one host', () => {
    let host: TestHost
    let network: Network

    beforeAll(async () => {
      host = await start()
      network = host.create()
      await network.ensureHost()
      await network.ensureHost()
    })

    afterAll(async () => {
      await network?.removeAll()
      await network?.close()
      await host?.close()
    })

    it('has exactly the ports of the last spec', async () => {
      await network.syncVpc(vpc(1, [port(1), port(2)]))
      expect(await host.addresses(1)).toEqual(['172.31.0.11', '172.31.0.12'])
      await network.syncVpc(vpc(1, [port(2), port(3)]))
      await network.syncVpc(vpc(1, [port(2), port(3)]))
      expect(await host.addresses(1)).toEqual(['172.31.0.12', '172.31.0.13'])
    })

    it('applies a change, as the first thing of its life or later', async () => {
      await network.syncVpc(vpc(1, [port(1), port(2)]))
      await network.syncVpc(vpc(1, [port(2), port(3)]), { ports: [port(3)], removed: ['eni-1'], groups: [] })
      expect(await host.addresses(1)).toEqual(['172.31.0.12', '172.31.0.13'])
      const moved = { ...port(2), privateIp: '172.31.0.20', secondary: [{ privateIp: '172.31.0.21', publicIp: null }] }
      await network.syncVpc(vpc(1, [moved, port(3)]), { ports: [moved], removed: [], groups: [] })
      expect((await host.addresses(1))).toContain('172.31.0.20')
      await network.close()
      network = host.create()
      await network.syncVpc(vpc(1, [port(3), port(4)]), { ports: [port(4)], removed: ['eni-2'], groups: [] })
      expect(await host.addresses(1)).toEqual(['172.31.0.13', '172.31.0.14'])
    })

    it('takes calls for one VPC in their order', async () => {
      const calls = [[1], [1, 2], [3], [], [4], [5, 6]]
      for (let round = 0; round < 3; round++) {
        await Promise.all(calls.map((slots) => network.syncVpc(vpc(1, slots.map(port)))))
        expect(await host.addresses(1)).toEqual(['172.31.0.15', '172.31.0.16'])
      }
      await Promise.all([network.syncVpc(vpc(1, [port(1)])), network.removeVpc('vpc-1')])
      expect(await network.list()).toEqual([])
    })

    it('keeps VPCs with the same block apart', async () => {
      const [first, second] = [port(1), { ...port(2), privateIp: port(1).privateIp }]
      await Promise.all([network.syncVpc(vpc(1, [first])), network.syncVpc(vpc(2, [second]))])
      expect((await network.list()).toSorted()).toEqual(['vpc-1', 'vpc-2'])
      await network.removeVpc('vpc-1')
      await network.removeVpc('vpc-1')
      expect(await network.list()).toEqual(['vpc-2'])
      expect(await host.addresses(2)).toEqual(['172.31.0.11'])
      await network.removeVpc('vpc-2')
    })

    it('finds everything again after a restart', async () => {
      await network.syncVpc(vpc(1, [port(1)]))
      await network.close()
      network = host.create()
      expect(await network.list()).toEqual(['vpc-1'])
      expect(await host.addresses(1)).toEqual(['172.31.0.11'])
      await network.syncVpc(vpc(1, [port(1), port(2)]))
      expect(await host.addresses(1)).toEqual(['172.31.0.11', '172.31.0.12'])
    })

    it('refuses what cannot be, and changes nothing', async () => {
      await network.syncVpc(vpc(1, [port(1)]))
      const bad = [
        vpc(1, [port(2), { ...port(3), privateIp: port(2).privateIp }]),
        vpc(1, [port(2), { ...port(3), mac: port(2).mac }]),
        vpc(1, [port(2), { ...port(3), slot: 2 }]),
        vpc(1, [{ ...port(2), subnetId: 'subnet-9' }]),
        vpc(1, [{ ...port(2), groupIds: ['sg-9'] }]),
      ]
      for (const spec of bad) await expect(network.syncVpc(spec)).rejects.toThrow()
      expect(await host.addresses(1)).toEqual(['172.31.0.11'])
    })

    it('names taps apart', () => {
      expect(new Set([1, 2, 11, 9_999_999].map((slot) => network.tapOf(slot))).size).toBe(4)
    })

    it('removes everything, and then once more', async () => {
      await network.syncVpc(vpc(1, [port(1)]))
      await network.syncVpc(vpc(2, []))
      await network.removeAll()
      expect(await network.list()).toEqual([])
      await network.removeAll()
      await network.ensureHost()
      await network.syncVpc(vpc(2, [port(2)]))
      expect(await host.addresses(2)).toEqual(['172.31.0.12'])
    })
  })
})
