import { describe, expect, test } from 'vitest'
import type { LayerRef } from '../../volumes/driver.ts'
import type { DiskSpec, MachineSpec, NicSpec } from '../driver.ts'
import { machineArguments } from './arguments.ts'

function nic(deviceIndex: number, tap: string): NicSpec {
  const mac = `0a:00:00:00:00:0${deviceIndex + 1}`
  return { interfaceId: `eni-${deviceIndex}`, attachmentId: `eni-attach-${deviceIndex}`, deviceIndex, mac, tap }
}

function layer(digit: string): LayerRef {
  const layerId = `lay-0123456789abcdef${digit}`
  return { layerId, path: `/home/h/layers/${layerId}.qcow2`, key: null }
}

function disk(digit: string, ...layers: LayerRef[]): DiskSpec {
  return { volumeId: `vol-0123456789abcdef${digit}`, deviceName: '/dev/xvda', layers, sizeGib: 1, limits: null }
}

const limits = { iops: 300, burst: { iops: 3000, seconds: 60 }, bytesPerSecond: 1_000_000 }
const spec: MachineSpec = {
  instanceId: 'i-0123456789abcdef0',
  uuid: 'ec201234-5678-4000-8000-123456789abc',
  slot: 3,
  vcpus: 2,
  memoryMib: 512,
  platform: { machineType: 'pc-q35-7.2', cpuModel: 'max', accelerator: 'tcg' },
  disks: [disk('0', layer('0'), layer('f')), { ...disk('1', layer('1'), layer('f')), limits }],
  nics: [nic(0, 'tap7')],
  maxNics: 8,
  netnsPath: null,
}
const folder = '/home/h/instances/i-0123456789abcdef0'
const words = machineArguments(spec, folder)
const valuesOf = (flag: string, all = words) => all.filter((_, index) => all[index - 1] === flag)
const deviceOf = (start: string, all = words) => valuesOf('-device', all).find((each) => each.startsWith(start))

describe('the arguments of a machine', () => {
  test('name it, so that its process is found', () => {
    expect(words.slice(0, 4)).toEqual(['-name', 'guest=i-0123456789abcdef0,debug-threads=on', '-uuid', spec.uuid])
  })

  test('make it look like EC2 to cloud-init', () => {
    const [, system] = valuesOf('-smbios')
    expect(system).toContain('manufacturer=Amazon EC2')
    expect(system).toContain(`uuid=${spec.uuid},serial=${spec.uuid}`)
  })

  test('pin what must not change in its life', () => {
    expect([valuesOf('-machine'), valuesOf('-cpu'), valuesOf('-accel')]).toEqual([['pc-q35-7.2'], ['max'], ['tcg']])
    const accelerated = { ...spec, platform: { ...spec.platform, cpuModel: 'host', accelerator: 'kvm' as const } }
    const differing = machineArguments(accelerated, folder).filter((word, index) => word !== words[index])
    expect(differing).toEqual(['kvm', 'host'])
  })

  test('give it its processors and memory', () => {
    expect(valuesOf('-smp')).toEqual(['cpus=2,sockets=1,cores=2,threads=1'])
    expect(valuesOf('-m')).toEqual(['512M'])
  })

  test('name no file by an absolute path', () => {
    expect(words.filter((word) => word.includes(':/') || word.startsWith('/') || word.includes('=/'))).toEqual([])
    expect(words.join(' ')).not.toContain('/home/')
  })

  test('attach its disks with the serial number that EC2 gives them, the root apart from those that come and go', () => {
    const [root, data] = spec.disks.map((disk) => deviceOf(`virtio-blk-pci,id=disk-${disk.volumeId}`))
    expect(root).toMatch(/drive=limits-vol-0123456789abcdef0,serial=vol0123456789abcdef0,bus=pcie.0,addr=0x10,bootindex=1$/)
    expect(data).toMatch(/drive=limits-vol-0123456789abcdef1,serial=vol0123456789abcdef1,bus=port1$/)
  })

  test('give all layers of each disk, whatever their files say, and none of their names twice', () => {
    const blocks = valuesOf('-blockdev').map((text) => JSON.parse(text) as { file: Record<string, unknown> })
    expect(blocks[0]?.file).toEqual({
      driver: 'qcow2', 'node-name': 'lay-0123456789abcdef0.9abcdef0', discard: 'unmap',
      file: { driver: 'file', filename: '../../layers/lay-0123456789abcdef0.qcow2', discard: 'unmap' },
      backing: {
        driver: 'qcow2', 'node-name': 'lay-0123456789abcdeff.9abcdef0', 'read-only': true, backing: null,
        file: { driver: 'file', filename: '../../layers/lay-0123456789abcdeff.qcow2' },
      },
    })
    const names = [...valuesOf('-blockdev').join().matchAll(/"node-name":"([^"]+)"/g)].map(([, name]) => name ?? '')
    expect(new Set(names).size).toBe(6)
    for (const name of names) expect(name.length).toBeLessThanOrEqual(31)
  })

  test('limit its disks from the start', () => {
    const groups = valuesOf('-object').map((text) => JSON.parse(text) as { id: string; limits: unknown })
    expect(groups).toEqual([
      { 'qom-type': 'throttle-group', id: 'rate-vol-0123456789abcdef0',
        limits: { 'iops-total': 0, 'iops-total-max': 0, 'iops-total-max-length': 1, 'bps-total': 0 } },
      { 'qom-type': 'throttle-group', id: 'rate-vol-0123456789abcdef1',
        limits: { 'iops-total': 300, 'iops-total-max': 3000, 'iops-total-max-length': 60, 'bps-total': 1_000_000 } },
    ])
  })

  test('name the secret of an encrypted layer, and hold no key', () => {
    const encrypted = { ...layer('2'), key: 'c2VjcmV0' }
    const all = machineArguments({ ...spec, disks: [disk('0', layer('0'), encrypted)] }, folder)
    expect(all.join(' ')).toContain('"encrypt":{"format":"luks","key-secret":"key-lay-0123456789abcdef2.9abcdef0"}')
    expect(all.join(' ')).not.toContain('c2VjcmV0')
  })

  test('attach its interface to the tap that is there, without scripts', () => {
    expect(valuesOf('-netdev')).toEqual(['tap,id=net0,ifname=tap7,script=no,downscript=no'])
    expect(deviceOf('virtio-net-pci')).toContain('netdev=net0,mac=0a:00:00:00:00:01,romfile=')
  })

  test('leave every device where it is when another disk or interface comes', () => {
    const fewer = machineArguments({ ...spec, disks: spec.disks.slice(0, 1), nics: [] }, folder)
    for (const device of valuesOf('-device', fewer)) expect(words).toContain(device)
    const onRootBus = valuesOf('-device').filter((device) => device.includes('bus=pcie.0'))
    const places = onRootBus.map((device) => /addr=([\w.]+)/.exec(device)?.[1])
    expect(new Set(places).size).toBe(places.length)
    expect(places).not.toContain(undefined)
  })

  const portsIn = (all: string[]) =>
    valuesOf('-device', all).filter((device) => device.startsWith('pcie-root-port')).map((device) =>
      `${/id=(\w+)/.exec(device)?.[1]} ${device.split('addr=')[1]}`)

  test('leave free ports for what is attached later: for volumes, and for as many interfaces as there may be', () => {
    const volumePorts = ['port1 0x1a.0,multifunction=on', 'port2 0x1a.1', 'port3 0x1a.2', 'port4 0x1a.3', 'port5 0x1a.4']
    const ofThree = [...volumePorts, 'nicport1 0x1e.0,multifunction=on', 'nicport2 0x1e.1']
    expect(portsIn(machineArguments({ ...spec, maxNics: 1 }, folder))).toEqual(volumePorts)
    expect(portsIn(machineArguments({ ...spec, maxNics: 3 }, folder))).toEqual(ofThree)
    // A larger type has more of them, and none elsewhere.
    const most = portsIn(machineArguments({ ...spec, maxNics: 15 }, folder))
    expect(most.slice(0, 7)).toEqual(ofThree)
    expect(most.slice(12, 14)).toEqual(['nicport8 0x1e.7', 'nicport9 0xf.0,multifunction=on'])
    expect(most).toHaveLength(19)
  })

  test('have as many ports for volumes as a machine may have of them, at most', () => {
    const portsWith = (count: number) => portsIn(machineArguments({ ...spec, disks: Array.from({ length: count }, () => spec.disks[0]!), maxNics: 1 }, folder))
    expect(portsWith(1)).toHaveLength(4)
    expect(portsWith(6)).toHaveLength(9)
    expect(portsWith(6).at(-1)).toBe('port9 0x1b.0,multifunction=on')
    expect(portsWith(16)).toHaveLength(15)
  })

  test('put each further interface on the port of its device index, whatever others there are', () => {
    const placesOf = (...nics: NicSpec[]) => {
      const all = machineArguments({ ...spec, nics }, folder)
      return valuesOf('-device', all).filter((each) => each.startsWith('virtio-net-pci')).map((each) =>
        `${/id=([^,]+)/.exec(each)?.[1]} ${/bus=([^,]+)/.exec(each)?.[1]}`)
    }
    expect(placesOf(nic(3, 'tap3'), nic(0, 'tap0'))).toEqual(['nic-eni-0 pcie.0', 'plug-eni-attach-3 nicport3'])
    expect(placesOf(nic(0, 'tap0'), nic(1, 'tap1'), nic(3, 'tap3'))).toContain('plug-eni-attach-3 nicport3')
    // There is no port for every number that EC2 takes.
    expect(placesOf(nic(0, 'tap0'), nic(9, 'tap9'), nic(7, 'tap7'))).toEqual(
      ['nic-eni-0 pcie.0', 'plug-eni-attach-7 nicport7', 'plug-eni-attach-9 nicport6'])
  })

  test('keep a reboot in the process and a power-off visible', () => {
    expect(valuesOf('-action')).toEqual(['reboot=reset,shutdown=pause'])
  })

  test('have a channel for a guest agent, at the name where agents look for it', () => {
    expect(valuesOf('-chardev')).toContain('socket,id=qga,path=qga.sock,server=on,wait=off')
    expect(deviceOf('virtserialport')).toContain('chardev=qga,name=org.qemu.guest_agent.0')
  })

  test('sandbox it fully', () => {
    expect(valuesOf('-sandbox')).toEqual(['on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'])
  })

  test('are refused for what has no place in the machine', () => {
    const disks = Array.from({ length: 17 }, () => spec.disks[0]!)
    const nics = Array.from({ length: 9 }, (_, index) => nic(index, `tap${index}`))
    expect(() => machineArguments({ ...spec, disks }, folder)).toThrow('more than 16 disks')
    expect(() => machineArguments({ ...spec, nics }, folder)).toThrow('more than 8 interfaces')
    const platform = { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' as const }
    expect(() => machineArguments({ ...spec, platform }, folder)).toThrow('pinned to the simulator')
  })
})
