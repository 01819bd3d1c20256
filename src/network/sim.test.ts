import { describe, expect, it } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { settlePromises, VirtualClock } from '../core/virtual-clock.ts'
import type { PortSpec, VpcSpec } from './driver.ts'
import { portSpec, subnetSpec, vpcSpec } from '../../test/support/vpc-spec.ts'
import { createSimNetwork, createSimNetworkWorld } from './sim.ts'

const vpc = (change: Partial<VpcSpec> = {}): VpcSpec => vpcSpec({
  vpcId: 'vpc-1', slot: 1, subnets: [subnetSpec('subnet-1', '10.0.0.0/24')],
  groups: [{ groupId: 'sg-1', ingress: [], egress: [] }], ports: [port(1)], ...change,
})

const port = (slot: number, change: Partial<PortSpec> = {}): PortSpec => portSpec({
  interfaceId: `eni-${slot}`, subnetId: 'subnet-1', slot, mac: `0a:00:00:00:00:0${slot}`,
  privateIp: `10.0.0.${slot + 3}`, groupIds: ['sg-1'], ...change,
})

function setUp(syncMs?: [number, number]) {
  const random = seededRandom(1)
  const clock = new VirtualClock(random)
  const world = createSimNetworkWorld()
  const start = () => createSimNetwork({ clock, random, world, ...(syncMs && { delays: { syncMs } }) })
  return { clock, world, start, network: start() }
}

describe('the simulated network', () => {
  it('puts exactly what a spec says in force', async () => {
    const { network, world } = setUp()
    await network.ensureHost()
    await network.syncVpc(vpc({ ports: [port(2, { publicIp: '198.18.0.4' }), port(1)] }))
    expect(world.ports()).toEqual([
      { vpcId: 'vpc-1', interfaceId: 'eni-1', privateIp: '10.0.0.4', publicIp: null, groupIds: ['sg-1'] },
      { vpcId: 'vpc-1', interfaceId: 'eni-2', privateIp: '10.0.0.5', publicIp: '198.18.0.4', groupIds: ['sg-1'] },
    ])
    await network.syncVpc(vpc({ ports: [port(3)] }))
    expect(world.ports().map((each) => each.interfaceId)).toEqual(['eni-3'])
  })

  it('keeps what is in force over a restart of the agent', async () => {
    const { network, world, start } = setUp()
    await network.syncVpc(vpc())
    await network.close()
    await expect(network.syncVpc(vpc({ ports: [] }))).rejects.toThrow('closed')
    await expect(network.list()).rejects.toThrow('closed')
    const next = start()
    expect(await next.list()).toEqual(['vpc-1'])
    expect(world.ports()).toHaveLength(1)
  })

  it('leaves a change under way without effect when the agent dies', async () => {
    const { clock, network, world } = setUp([50, 50])
    const outcome = network.syncVpc(vpc()).catch((error: Error) => error.message)
    await clock.advance(49)
    await network.close()
    await clock.advance(10)
    expect(await outcome).toContain('closed')
    expect(world.ports()).toEqual([])
  })

  it('takes its time when told so, and sets no timer otherwise', async () => {
    const slow = setUp([50, 50])
    const done = slow.network.syncVpc(vpc())
    await slow.clock.advance(49)
    expect(slow.world.ports()).toEqual([])
    await slow.clock.advance(1)
    await done
    expect(slow.world.ports()).toHaveLength(1)

    const quick = setUp([0, 0])
    const synced = quick.network.syncVpc(vpc())
    await settlePromises()
    expect(quick.clock.nextAt()).toBeUndefined()
    await synced
    expect(quick.world.ports()).toHaveLength(1)
  })

  it('puts in force what the spec was, not what became of it', async () => {
    const { network, world } = setUp()
    const spec = vpc()
    const synced = network.syncVpc(spec)
    spec.ports.length = 0
    await synced
    expect(world.ports()).toHaveLength(1)
  })

  it('removes one VPC, or all, as often as asked', async () => {
    const { network } = setUp()
    await network.syncVpc(vpc())
    await network.syncVpc(vpc({ vpcId: 'vpc-2' }))
    await network.removeVpc('vpc-1')
    await network.removeVpc('vpc-1')
    expect(await network.list()).toEqual(['vpc-2'])
    await network.removeAll()
    await network.removeAll()
    expect(await network.list()).toEqual([])
  })

  it('has ports that are cut, behind which nobody answers until they are joined again', async () => {
    const { network, world } = setUp()
    const asked = [1, 2].map((slot) => ({ interfaceId: `eni-${slot}`, slot, mac: '', privateIp: '' }))
    const ask = async () => Object.fromEntries(await network.askPorts({ vpcId: 'vpc-1', slot: 1 }, asked))
    await network.syncVpc(vpc({ ports: [port(1, { isCut: true }), port(2)] }))
    expect(world.ports().map((each) => each.isCut ?? false)).toEqual([true, false])
    expect(await ask()).toEqual({ 'eni-1': false, 'eni-2': true })
    const ports = [port(1), port(2, { isCut: true })]
    await network.syncVpc(vpc({ ports }), { ports, removed: [], groups: [] })
    expect(await ask()).toEqual({ 'eni-1': true, 'eni-2': false })
  })

  it('has taps by name and no namespaces', () => {
    const { network } = setUp()
    expect(network.tapOf(7)).toBe('sim7')
    expect(network.netnsPathOf(7)).toBeNull()
  })

  it.each([
    ['an address twice', [port(1), port(2, { privateIp: '10.0.0.4' })], 'address 10.0.0.4'],
    ['a MAC twice', [port(1), port(2, { mac: '0a:00:00:00:00:01' })], 'MAC'],
    ['a slot twice', [port(1), port(2, { slot: 1 })], 'slot 1'],
    ['a public address twice', [port(1, { publicIp: '198.18.0.4' }), port(2, { publicIp: '198.18.0.4' })], 'public'],
    ['an unknown group', [port(1, { groupIds: ['sg-9'] })], 'no group sg-9'],
    ['an unknown subnet', [port(1, { subnetId: 'subnet-9' })], 'no subnet subnet-9'],
  ])('refuses %s, which the kernel would too', async (_what, ports, message) => {
    const { network, world } = setUp()
    await expect(network.syncVpc(vpc({ ports }))).rejects.toThrow(message)
    expect(world.ports()).toEqual([])
  })
})
