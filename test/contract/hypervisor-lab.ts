import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { DiskSpec, Hypervisor, MachineSpec, NicSpec } from '../../src/hypervisor/driver.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { createVpcServices } from '../../src/network/services/index.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { tinyImage } from '../support/tiny-image.ts'

/** The services of the guest's network answer from this process, which therefore must never wait. */
export const run = promisify(execFile)

export const INSTANCE = 'i-0123456789abcdef0'
const SNAPSHOT = 'snap-0123456789abcdef0'
const SLOT = 1
const GATEWAY = '10.0.0.1'
/** Somewhere beyond the gateway: guests answer it by a default route. */
const AFAR = '192.0.2.1'
export const SECONDARY = '10.0.0.20'

export const nic = (deviceIndex: number, attachment = 0): NicSpec => ({
  interfaceId: `eni-0000000000000000${deviceIndex}`, attachmentId: `eni-attach-000000000000000${attachment}${deviceIndex}`,
  deviceIndex, mac: `0a:00:00:00:00:0${deviceIndex}`, tap: `tap${deviceIndex}`,
})
const addressOf = (mac: string) => `10.0.0.1${mac.slice(-1)}`

/** A tiny guest on this host, in a network with all services. */
export interface GuestLab {
  driver: Hypervisor
  /** What it was started with. */
  spec: MachineSpec
  folder: string
  /** The key of its root's layers. */
  rootKey: string
  /** What the metadata service says of its second interface, beside the primary address. */
  secondaries: string[]
  /** A command in the guest, at one of its addresses, from afar. */
  ssh(address: string, command: string): Promise<string>
  answers(address: string): Promise<boolean>
  /** How often that is on its console. */
  says(text: string): Promise<number>
  /** A new file of a layer, encrypted where there is a key, over one that is there. */
  layer(layerId: string, parentId: string | null, key?: string): Promise<DiskSpec['layers'][number]>
  close(): Promise<void>
}

export const until = (what: string, check: () => boolean | Promise<boolean>) => waitFor(systemClock, what, 60_000, check, 200)

/** Boots the guest; its root is encrypted, in two layers over the plain image. */
export async function bootGuestLab(): Promise<GuestLab> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-guest-'))
  const netns = `hearth-guest-${process.pid}`
  const netnsPath = `/run/netns/${netns}`
  const key = join(folder, 'key')
  const rootKey = systemRandom.bytes(32).toString('base64')
  const inside = async (command: string) =>
    (await run('nsenter', [`--net=${netnsPath}`, '/bin/sh', '-euc', command], { timeout: 30_000 })).stdout
  const services = createVpcServices({
    clock: systemClock, log: silentLogger, upstreamDns: [],
    services: {
      leaseFor: async (_vpcId, mac) => ({
        address: addressOf(mac), prefix: 20, gateway: GATEWAY, dns: ['10.0.0.2'], domainName: 'ec2.internal', hostname: 'guest',
        mtu: 1500, leaseSeconds: 3600,
      }),
      resolveName: async () => undefined,
      resolveAddress: async () => undefined,
      async metadata(_vpcId, _address, { path }) {
        const mac = /macs\/([\w:]+)\/local-ipv4s$/.exec(path)?.[1]
        const tree: Record<string, string> = {
          '/latest/api/token': 'token', '/latest/meta-data/instance-id': INSTANCE, '/latest/meta-data/local-hostname': 'guest.ec2.internal',
          '/latest/meta-data/public-keys/0/openssh-key': readFileSync(`${key}.pub`, 'utf8').trim(),
        }
        const body = mac === undefined ? tree[path] : [addressOf(mac), ...(mac === nic(1).mac ? lab.secondaries : [])].join('\n')
        return { status: body === undefined ? 404 : 200, headers: {}, body: Buffer.from(body ?? '') }
      },
    },
  })
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  await run('ip', ['netns', 'add', netns])
  await inside(`
    ip link set lo up
    for address in ${GATEWAY} 10.0.0.2 169.254.169.254 ${AFAR}; do ip addr add $address/32 dev lo; done
    nft add table ip guard
    nft add chain ip guard input '{ type filter hook prerouting priority 0; }'
  `)
  for (const each of [nic(0), nic(1)]) {
    // As a VPC has it, down to the rule that nobody sends from another's address.
    await inside(`
      ip tuntap add dev ${each.tap} mode tap user ${UID_BASE + SLOT} vnet_hdr
      ip link set ${each.tap} up
      for address in ${addressOf(each.mac)} ${each.deviceIndex === 1 ? SECONDARY : ''}; do
        ip route add $address/32 dev ${each.tap}
        ip neigh add $address lladdr ${each.mac} dev ${each.tap}
      done
      nft add rule ip guard input iifname ${each.tap} ip saddr != '{ 0.0.0.0, ${addressOf(each.mac)}${each.deviceIndex === 1 ? `, ${SECONDARY}` : ''} }' drop
    `)
  }
  await services.open('vpc-1', netnsPath, { dhcp: true, dns: ['10.0.0.2'], metadata: '169.254.169.254' })
  const volumes = createQcow2Volumes({ home: folder, log: silentLogger })
  await volumes.importLayer(SNAPSHOT, (await tinyImage()).file)
  const driver = createQemuHypervisor({ home: folder, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg' })
  const lab: GuestLab = {
    driver, folder, rootKey, secondaries: [], spec: {
      instanceId: INSTANCE, uuid: 'ec201234-5678-4000-8000-123456789abc', slot: SLOT, vcpus: 2, memoryMib: 512,
      platform: await driver.platform(), disks: [], nics: [nic(0)], maxNics: 3, netnsPath,
    },
    ssh(address, command) {
      const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ConnectTimeout=5']
      return inside(`ssh -F none -b ${AFAR} -i ${key} ${options.map((each) => `-o ${each}`).join(' ')} root@${address} '${command}' 2>/dev/null`)
    },
    answers: (address) => lab.ssh(address, 'true').then(() => true, () => false),
    says: async (text) => (await driver.consoleOutput(INSTANCE, 65_536)).toString().split(text).length - 1,
    async layer(layerId, parentId, key) {
      const path = volumes.pathOf(layerId)
      await makeLayer(path, parentId === null ? null : `../layers/${parentId}.qcow2`, key)
      return { layerId, path, key: key ?? null }
    },
    async close() {
      await driver.remove(INSTANCE)
      await driver.close()
      await services.closeAll()
      await run('ip', ['netns', 'del', netns])
      rmSync(folder, { recursive: true })
    },
  }
  const image = { layerId: SNAPSHOT, path: volumes.pathOf(SNAPSHOT), key: null }
  const lower = await lab.layer('lay-00000000000000001', SNAPSHOT, rootKey)
  const top = await lab.layer('lay-00000000000000002', 'lay-00000000000000001', rootKey)
  lab.spec.disks.push({ volumeId: 'vol-0123456789abcdef0', deviceName: '/dev/xvda', layers: [top, lower, image], sizeGib: 1, limits: null })
  await driver.ensureRunning(lab.spec)
  await until('the guest to be up', async () => (await lab.says('hearth: READY')) === 1)
  return lab
}

/** As the driver of volumes makes them. */
async function makeLayer(path: string, backing: string | null, key: string | undefined): Promise<void> {
  const secret = ['--object', `secret,id=key,data=${key}`, '-o', 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10']
  const over = backing === null ? [] : ['-u', '-F', 'qcow2', '-b', backing]
  const words = ['create', '-q', '-f', 'qcow2', ...(key === undefined ? [] : secret), ...over, path, '1G']
  // It measures the processor first, which it cannot on every host at every time.
  await waitFor(systemClock, `a file ${path}`, 60_000, () => run('qemu-img', words).then(() => true, () => false), 0)
}
