import type { Scene } from './scene.ts'
import { groupOf, portOf, vpcOf } from './specs.ts'
import { median } from '../table.ts'

const PORT = '5201'

export interface Traffic {
  /** Gbit/s. */
  ports: number
  bare: number
  portsConnections: number
  bareConnections: number
}

interface Pair {
  client: string
  server: string
  address: string
}

/**
 * TCP between two interfaces of a VPC, and between the ends of a bare veth pair: the same program, in
 * turns, so that what else the machine does befalls both.
 */
export async function measureTraffic(scene: Scene, program: string, rounds: number, durationMs: number): Promise<Traffic> {
  const pairs = { ports: await twoPorts(scene), bare: await barePair(scene) }
  for (const pair of Object.values(pairs)) await scene.start(pair.server, program, ['serve', pair.address, PORT])
  const measure = async (mode: string, pair: Pair) =>
    Number(await scene.run(pair.client, program, [mode, pair.address, PORT, String(durationMs)]))
  const found = { portsStream: [] as number[], bareStream: [] as number[], portsConnect: [] as number[], bareConnect: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    found.portsStream.push(await measure('stream', pairs.ports))
    found.bareStream.push(await measure('stream', pairs.bare))
    found.portsConnect.push(await measure('connect', pairs.ports))
    found.bareConnect.push(await measure('connect', pairs.bare))
  }
  const gigabits = (values: number[]) => (median(values) * 8) / 1e9
  return {
    ports: gigabits(found.portsStream), bare: gigabits(found.bareStream),
    portsConnections: median(found.portsConnect), bareConnections: median(found.bareConnect),
  }
}

async function twoPorts(scene: Scene): Promise<Pair> {
  const ports = [portOf(1), portOf(2)]
  await scene.network.syncVpc(vpcOf(3, [], []))
  const [client = '', server = ''] = await Promise.all(ports.map((port, index) => scene.guest(`port${index}`,
    { netns: scene.netnsOf(3), dev: scene.network.tapOf(port.slot), mac: port.mac },
    [`addr add ${port.privateIp}/20 dev eth0`, 'link set dev eth0 up', 'route add default via 10.0.0.1'])))
  await scene.network.syncVpc(vpcOf(3, ports, [groupOf(10)]))
  return { client, server, address: ports[1]?.privateIp ?? '' }
}

async function barePair(scene: Scene): Promise<Pair> {
  const client = await scene.guest('bare0', { netns: scene.netnsOf(3), dev: 'unused0', mac: '02:00:00:00:ff:01' }, ['link set dev eth0 up'])
  const server = await scene.guest('bare1', { netns: client, dev: 'pair0', mac: '02:00:00:00:ff:02' },
    ['addr add 10.9.0.2/24 dev eth0', 'link set dev eth0 up'])
  await scene.exec.inside(client, ['ip', '-batch', '-'], 'addr add 10.9.0.1/24 dev pair0\nlink set dev pair0 up\n')
  return { client, server, address: '10.9.0.2' }
}
