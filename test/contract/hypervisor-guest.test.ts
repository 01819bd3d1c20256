import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { Hypervisor, MachineSpec, NicSpec } from '../../src/hypervisor/driver.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { createVpcServices } from '../../src/network/services/index.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { tinyImage } from '../support/tiny-image.ts'
import { whyNoQemu } from './hypervisor-hosts.ts'

/** The services of the guest's network answer from this process, which therefore must never wait. */
const run = promisify(execFile)

const INSTANCE = 'i-0123456789abcdef0'
const VOLUME = 'vol-0123456789abcdef0'
const SLOT = 1
const GATEWAY = '10.0.0.1'
/** Somewhere beyond the gateway: guests answer it by a default route. */
const AFAR = '192.0.2.1'
const SECONDARY = '10.0.0.20'

const nic = (deviceIndex: number, attachment = 0): NicSpec => ({
  interfaceId: `eni-0000000000000000${deviceIndex}`, attachmentId: `eni-attach-000000000000000${attachment}${deviceIndex}`,
  deviceIndex, mac: `0a:00:00:00:00:0${deviceIndex}`, tap: `tap${deviceIndex}`,
})
const addressOf = (mac: string) => `10.0.0.1${mac.slice(-1)}`

describe.skipIf(whyNoQemu() !== undefined)('a guest whose interfaces come and go', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-nics-'))
  const netns = `hearth-nics-${process.pid}`
  const netnsPath = `/run/netns/${netns}`
  const key = join(folder, 'key')
  let secondaries: string[] = []
  let driver: Hypervisor
  let spec: MachineSpec

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
        const body = mac === undefined ? tree[path] : [addressOf(mac), ...(mac === nic(1).mac ? secondaries : [])].join('\n')
        return { status: body === undefined ? 404 : 200, headers: {}, body: Buffer.from(body ?? '') }
      },
    },
  })

  /** A command in the guest, at one of its addresses, from afar. */
  const ssh = (address: string, command: string) => {
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ConnectTimeout=5']
    return inside(`ssh -F none -b ${AFAR} -i ${key} ${options.map((each) => `-o ${each}`).join(' ')} root@${address} '${command}' 2>/dev/null`)
  }
  const answers = (address: string) => ssh(address, 'true').then(() => true, () => false)
  const until = (what: string, check: () => boolean | Promise<boolean>) => waitFor(systemClock, what, 60_000, check, 200)
  const says = async (text: string) => (await driver.consoleOutput(INSTANCE, 65_536)).toString().split(text).length - 1

  beforeAll(async () => {
    const { file } = await tinyImage()
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
    await volumes.importLayer('snap-0123456789abcdef0', file)
    await volumes.ensureLayer({ layerId: VOLUME, sizeGib: 1, parentId: 'snap-0123456789abcdef0', key: null })
    driver = createQemuHypervisor({ home: folder, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg' })
    const layers = [VOLUME, 'snap-0123456789abcdef0'].map((layerId) => ({ layerId, path: volumes.pathOf(layerId), key: null }))
    const disk = { volumeId: VOLUME, deviceName: '/dev/xvda', layers, sizeGib: 1, limits: null }
    spec = {
      instanceId: INSTANCE, uuid: 'ec201234-5678-4000-8000-123456789abc', slot: SLOT, vcpus: 2, memoryMib: 512,
      platform: await driver.platform(), disks: [disk],
      nics: [nic(0)], maxNics: 3, netnsPath,
    }
    await driver.ensureRunning(spec)
    await until('the guest to be up', async () => (await says('hearth: READY')) === 1)
  }, 120_000)

  afterAll(async () => {
    await driver?.remove(INSTANCE)
    await driver?.close()
    await services.closeAll()
    await run('ip', ['netns', 'del', netns])
    rmSync(folder, { recursive: true })
  })

  test('finds one that is plugged in, takes its addresses, and answers by it what came in by it', async () => {
    secondaries = [SECONDARY]
    await driver.ensureNics(INSTANCE, [nic(0), nic(1)])
    await until('an answer at its address', () => answers('10.0.0.11'))
    await until('an answer at its secondary address', () => answers(SECONDARY))
    expect(await ssh('10.0.0.10', 'cat /sys/class/net/eth1/address; ip route | grep default')).toBe(
      '0a:00:00:00:00:01\ndefault via 10.0.0.1 dev eth0 \n')
  }, 90_000)

  test('takes up and gives up secondary addresses when asked to look', async () => {
    secondaries = []
    await ssh('10.0.0.10', '/usr/lib/hearth/addresses eth1')
    expect(await ssh('10.0.0.10', 'ip -o -4 addr show dev eth1; ip rule')).not.toContain(SECONDARY)
    secondaries = [SECONDARY]
    await ssh('10.0.0.10', '/usr/lib/hearth/addresses eth1')
    expect(await answers(SECONDARY)).toBe(true)
  })

  test('gives one up, and nothing of it is left behind', async () => {
    const heard: string[] = []
    driver.onChange((instanceId) => heard.push(instanceId))
    expect(await driver.ensureNics(INSTANCE, [nic(0)])).toEqual([nic(1).attachmentId])
    await until('news of it', () => heard.length > 0)
    await until('the interface to go', async () => (await driver.ensureNics(INSTANCE, [nic(0)])).length === 0)
    await until('the guest to have cleared up', async () => await ssh('10.0.0.10', 'ls -d /run/net.* 2>/dev/null; ip rule') === RULES)
    expect(await ssh('10.0.0.10', 'ls /sys/class/net; ps | grep -c "[u]dhcpc"')).toBe('eth0\nlo\n1\n')
  }, 60_000)

  test('takes it again, as another attachment, and has it after the next start', async () => {
    await driver.ensureNics(INSTANCE, [nic(0), nic(1, 1)])
    await until('an answer at its address', () => answers('10.0.0.11'))
    await driver.ensureStopped(INSTANCE)
    await driver.ensureRunning({ ...spec, nics: [nic(0), nic(1, 1)] })
    await until('the guest to be up again', async () => (await says('hearth: READY')) === 2)
    await until('an answer at its address', () => answers('10.0.0.11'))
    await until('an answer at its secondary address', () => answers(SECONDARY))
    expect(await driver.ensureNics(INSTANCE, [nic(0), nic(1, 1)])).toEqual([nic(1, 1).attachmentId])
  }, 120_000)
})

const RULES = ['0:\tfrom all lookup local', '32766:\tfrom all lookup main', '32767:\tfrom all lookup default'].join(' \n') + ' \n'
