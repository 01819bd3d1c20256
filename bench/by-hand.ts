import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { chownSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { systemClock } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { homeIdOf } from '../src/home.ts'
import { MachineCgroup } from '../src/hypervisor/qemu/cgroup.ts'
import { launchCommand } from '../src/hypervisor/qemu/launch.ts'
import { answerMetadata } from '../src/imds/server.ts'
import type { InstanceMetadata } from '../src/imds/tree.ts'
import type { Network, VpcServices } from '../src/network/driver.ts'
import { createLinuxNetwork } from '../src/network/linux/index.ts'
import { UID_BASE } from '../src/core/machine-uid.ts'
import { createVpcServices } from '../src/network/services/index.ts'
import { portSpec, subnetSpec, vpcSpec } from '../test/support/vpc-spec.ts'
import { awaitBanner } from './banner.ts'

// The other side of the comparison: the same QEMU on the same layer, started by hand on a port that
// was prepared beforehand.

const VPC = vpcSpec({
  vpcId: 'vpc-byhand', slot: 1, cidrs: ['172.31.0.0/16'], subnets: [subnetSpec('subnet-byhand', '172.31.0.0/20')],
})
const GROUP = 'sg-byhand'
const PORT = portSpec({
  interfaceId: 'eni-byhand', subnetId: 'subnet-byhand', slot: 4242, mac: '0a:68:61:6e:64:01', privateIp: '172.31.0.10',
  publicIp: '198.19.255.10', groupIds: [GROUP],
})
/** The last /22 of the block that homes pick theirs from: no home of this run has it. */
const POOL = '198.19.252.0/22'
/** Also the name of its cgroup. */
export const INSTANCE_ID = 'i-00000000000b1a4d0'
const UUID = 'ec2b1a4d-0000-4000-8000-000000000001'

export interface ByHand {
  /** Makes a disk, starts QEMU, waits for its SSH banner, and ends it again. */
  launch(signal: AbortSignal): Promise<{ diskMs: number; bannerMs: number }>
  close(): Promise<void>
}

/**
 * Prepares the network: the same namespace, rules, tap, DHCP and metadata as Hearth's, but answered
 * from memory, and never changed between launches.
 *
 * @param words command line of a QEMU that Hearth started, which is taken over.
 */
export async function prepareByHand(
  folders: { home: string; byHand: string },
  words: string[],
  publicKey: string,
): Promise<ByHand> {
  const ambient = { clock: systemClock, log: silentLogger }
  const homeId = homeIdOf(folders.byHand)
  const services = createVpcServices({ services: servicesInMemory(publicKey), ...ambient })
  const network = createLinuxNetwork({ homeId, publicPool: POOL, services, ...ambient })
  await network.ensureHost()
  const anywhere = { protocol: '-1', fromPort: null, toPort: null, peer: { cidr: '0.0.0.0/0' } }
  const ssh = { protocol: 'tcp', fromPort: 22, toPort: 22, peer: { cidr: '0.0.0.0/0' } }
  await network.syncVpc({ ...VPC, groups: [{ groupId: GROUP, ingress: [ssh], egress: [anywhere] }], ports: [PORT] })
  const [layer] = readdirSync(path.join(folders.home, 'layers')).filter((name) => name.endsWith('.qcow2'))
  if (layer === undefined) throw new Error(`there is no layer in ${folders.home}`)
  // On a busy host a machine with a cgroup gets more of it than one without.
  const { joinFiles } = new MachineCgroup(folders.byHand, INSTANCE_ID).ensure(limitsIn(words))
  let count = 0
  return {
    launch: (signal) => launch({
      folder: path.join(folders.byHand, `machine-${++count}`), layer: path.join(folders.home, 'layers', layer), words, network,
      joinFiles,
    }, signal),
    close: () => network.removeAll(),
  }
}

interface LaunchByHand {
  folder: string
  layer: string
  words: string[]
  network: Network
  joinFiles: string[]
}

async function launch(
  { folder, layer, words, network, joinFiles }: LaunchByHand,
  signal: AbortSignal,
): Promise<{ diskMs: number; bannerMs: number }> {
  const uid = UID_BASE + PORT.slot
  mkdirSync(folder, { mode: 0o700 })
  chownSync(folder, uid, uid)
  writeFileSync(path.join(folder, 'lock'), '')
  const [program = '', ...rest] = launchCommand({
    folder, uid, kvm: words.includes('kvm'), netnsPath: network.netnsPathOf(VPC.slot), tun: true, cgroupFiles: joinFiles,
    arguments: takeOver(words, network.tapOf(PORT.slot)),
  })
  const log = openSync(path.join(folder, 'qemu.log'), 'a')
  const disk = path.join(folder, 'root.qcow2')

  const startMs = performance.now()
  const controller = new AbortController()
  const banner = awaitBanner(PORT.publicIp ?? '', AbortSignal.any([signal, controller.signal]))
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', layer, disk])
  chownSync(disk, uid, uid)
  const diskMs = performance.now() - startMs
  const child = spawn(program, rest, { cwd: folder, detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  const ended = new Promise<string>((resolve) => child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`)))
  void ended.then((how) =>
    controller.abort(new Error(`QEMU by hand ended with ${how}\n${readFileSync(path.join(folder, 'qemu.log'), 'utf8')}`)))
  try {
    return { diskMs, bannerMs: (await banner) - startMs }
  } finally {
    await end(child, ended)
  }
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGKILL')
  await ended
}

/** vCPUs and memory on a command line of Hearth's. */
function limitsIn(words: string[]): { vcpus: number; memoryMib: number } {
  const vcpus = /^cpus=(\d+)/.exec(words[words.indexOf('-smp') + 1] ?? '')?.[1]
  const memoryMib = /^(\d+)M$/.exec(words[words.indexOf('-m') + 1] ?? '')?.[1]
  if (vcpus === undefined || memoryMib === undefined) throw new Error(`no vCPUs or memory in: ${words.join(' ')}`)
  return { vcpus: Number(vcpus), memoryMib: Number(memoryMib) }
}

/** The command line of Hearth's QEMU with another name, disk file, tap and address: nothing else differs. */
function takeOver(words: string[], tap: string): string[] {
  return words.map((word) => word
    .replace(/^guest=i-[0-9a-f]+/, `guest=${INSTANCE_ID}`)
    .replaceAll(/\bec2[0-9a-f]{5}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, UUID)
    .replace(/"filename":"[^"]+"/, '"filename":"root.qcow2"')
    // What is under it is the home's.
    .replaceAll('"../../layers/', '"../../home/layers/')
    .replace(/\bifname=[^,]+/, `ifname=${tap}`)
    .replace(/\bmac=[0-9a-f:]+/, `mac=${PORT.mac}`))
}

function servicesInMemory(publicKey: string): VpcServices {
  const secret = Buffer.alloc(32, 1)
  const view = metadataOf(publicKey)
  // The tiny image's guests do not ask for the identity document.
  const signatures = { signature: '', pkcs7: '' }
  return {
    leaseFor: async (_vpcId, mac) => mac.toLowerCase() !== PORT.mac ? undefined : {
      address: PORT.privateIp, prefix: 20, gateway: '172.31.0.1', dns: ['172.31.0.2'], domainName: 'ec2.internal',
      hostname: 'ip-172-31-0-10', mtu: 1500, leaseSeconds: 3600,
    },
    resolveName: async () => undefined,
    resolveAddress: async () => undefined,
    metadata: async (_vpcId, _address, request) => answerMetadata(view, request, { nowMs: systemClock.now(), secret, signatures }),
  }
}

function metadataOf(publicKey: string): InstanceMetadata {
  return {
    region: 'us-east-1', accountId: '123456789012', instanceId: INSTANCE_ID, instanceType: 't3.micro', imageId: 'ami-byhand',
    reservationId: 'r-byhand', launchIndex: 0, launchMs: systemClock.now(), architecture: 'x86_64', zone: 'us-east-1a',
    placementGroup: null, partitionNumber: null, dedicatedHostId: null,
    options: { httpTokens: 'optional', httpPutResponseHopLimit: 1, httpEndpoint: 'enabled', instanceMetadataTags: 'disabled' },
    monitoring: 'disabled', hibernation: false,
    userData: null, keyName: 'bench', publicKey, rootDeviceName: '/dev/xvda', hostDomain: 'ec2.internal',
    dataDevices: [], tags: [], events: [], spot: null,
    interfaces: [{
      interfaceId: PORT.interfaceId, accountId: '123456789012', deviceIndex: 0, mac: PORT.mac, privateIp: PORT.privateIp,
      publicIp: PORT.publicIp, groups: [{ groupId: GROUP, name: 'bench' }], subnetId: PORT.subnetId,
      subnetCidr: '172.31.0.0/20', vpcId: VPC.vpcId, vpcCidrs: ['172.31.0.0/16'],
      secondary: [], hasPublicNames: true,
    }],
  }
}
