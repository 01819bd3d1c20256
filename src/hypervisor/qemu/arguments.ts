import {
  MAX_DISKS, type DiskSpec, type GuestArchitecture, type MachinePlatform, type MachineSpec, type NicSpec,
} from '../driver.ts'
import { architectureFacts, architectureOf, uefiFirmware } from './architecture.ts'
import { deviceId, diskDevice, diskNodes, throttleGroup, throttleLimits } from './disk-nodes.ts'
import { freshLayout, type Layout } from './layout.ts'
import { nicDevice, nicNetdev } from './nics.ts'
import { hexadecimal, PCI_SLOT, type Port } from './places.ts'

/** The sandbox of every QEMU that Hearth starts: no new privileges, no children, nothing obsolete. */
export const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'

/**
 * The arguments of a machine's QEMU, which runs with `folder` as its working directory and names
 * files relative to it only: it may not search the directories above Hearth's home. Disks and interfaces that
 * have no place in `layout` are left out.
 *
 * @throws Error for a spec that has no place on the machine's bus.
 */
export function machineArguments(spec: MachineSpec, folder: string, layout: Layout = freshLayout(spec)): string[] {
  if (spec.platform.accelerator === 'sim') throw new Error(`${spec.instanceId} is pinned to the simulator, not QEMU`)
  if (spec.disks.length > MAX_DISKS) throw new Error(`${spec.instanceId} has more than ${MAX_DISKS} disks`)
  const { ports, places } = layout
  return [
    ...identity(spec),
    ...processor(spec),
    ...channels(architectureOf(spec.platform)),
    '-device', onBus('virtio-rng-pci', PCI_SLOT.rng),
    ...ports.flatMap(portArguments),
    ...spec.disks.flatMap((disk, index) => diskArguments(disk, index, folder, places)),
    ...nicArguments(spec.nics, places),
    '-sandbox', SANDBOX,
  ]
}

/** The words by which a running machine is recognised; the first ones on its command line. */
export function nameArguments(instanceId: string): string[] {
  return ['-name', `guest=${instanceId},debug-threads=on`]
}

function identity(spec: MachineSpec): string[] {
  // cloud-init takes a guest for EC2's by the uuid and serial number, other agents by the makers' names.
  const system = `type=1,manufacturer=Amazon EC2,product=Hearth,uuid=${spec.uuid},serial=${spec.uuid}`
  return [
    ...nameArguments(spec.instanceId),
    '-uuid', spec.uuid,
    '-smbios', 'type=0,vendor=Amazon EC2,version=1.0',
    '-smbios', system,
    '-smbios', 'type=3,manufacturer=Amazon EC2,asset=Amazon EC2',
  ]
}

function processor(spec: MachineSpec): string[] {
  const { machineType, cpuModel, accelerator } = spec.platform
  return [
    '-nodefaults', '-no-user-config',
    ...firmware(spec.platform),
    '-machine', `${machineType}${machineOptions(spec.platform)}`,
    '-accel', accelerator,
    '-cpu', cpuModel,
    '-smp', `cpus=${spec.vcpus},sockets=1,cores=${spec.vcpus},threads=1`,
    '-m', `${spec.memoryMib}M`,
    '-rtc', 'base=utc',
    // A guest's reboot stays in the process; a power-off leaves it in `shutdown` for a late observer.
    '-action', 'reboot=reset,shutdown=pause',
  ]
}

/** The machine's own firmware variables, in its folder. */
export const UEFI_VARIABLES_FILE = 'uefi-vars.fd'

/** A UEFI guest's firmware: its code, which all share, and its own variables. */
function firmware(platform: MachinePlatform): string[] {
  if (platform.firmware !== 'uefi') return []
  const { code } = uefiFirmware(architectureOf(platform))
  return [
    '-blockdev', JSON.stringify({ driver: 'file', 'node-name': 'uefi-code', filename: code, 'read-only': true }),
    '-blockdev', JSON.stringify({ driver: 'file', 'node-name': 'uefi-vars', filename: UEFI_VARIABLES_FILE }),
  ]
}

function machineOptions(platform: MachinePlatform): string {
  const interrupts = architectureOf(platform) === 'arm64' ? ',gic-version=max' : ''
  return platform.firmware === 'uefi' ? `${interrupts},pflash0=uefi-code,pflash1=uefi-vars` : interrupts
}

function channels(architecture: GuestArchitecture): string[] {
  return [
    '-msg', 'timestamp=on',
    '-qmp', 'unix:qmp.sock,server=on,wait=off',
    '-qmp', 'unix:qmp2.sock,server=on,wait=off',
    '-chardev', 'socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=console.log,logappend=on',
    '-serial', 'chardev:serial0',
    // Where a guest agent listens, in images that have one (org.qemu.guest_agent.0).
    '-device', onBus('virtio-serial-pci,id=channels,max_ports=2', PCI_SLOT.serial),
    '-chardev', 'socket,id=qga,path=qga.sock,server=on,wait=off',
    '-device', 'virtserialport,bus=channels.0,nr=1,chardev=qga,name=org.qemu.guest_agent.0',
    '-device', onBus(architectureFacts(architecture).display, PCI_SLOT.vga),
    '-display', 'none',
    '-vnc', 'unix:vnc.sock',
  ]
}

/** The keys of its layers, which it names, are given apart (secrets.ts). */
function diskArguments(disk: DiskSpec, index: number, folder: string, places: Layout['places']): string[] {
  const place = places[deviceId(disk.volumeId)]
  if (place === undefined) return []
  const group = { 'qom-type': 'throttle-group', id: throttleGroup(disk.volumeId), limits: throttleLimits(disk.limits) }
  // The root is a part of the machine; it is the only one that firmware boots from.
  const boot = index === 0 ? ',bootindex=1' : ''
  return [
    '-object', JSON.stringify(group),
    '-blockdev', JSON.stringify(diskNodes(disk, disk.volumeId, folder)),
    '-device', `${asOption(diskDevice(disk, disk.volumeId), 'driver')},${place}${boot}`,
  ]
}

function nicArguments(nics: readonly NicSpec[], places: Layout['places']): string[] {
  return nics.toSorted((a, b) => a.deviceIndex - b.deviceIndex).flatMap((nic) => {
    const device = nicDevice(nic)
    const place = places[device.id ?? '']
    if (place === undefined) return []
    return ['-netdev', asOption(nicNetdev(nic), 'type'), '-device', `${asOption(device, 'driver')},${place}`]
  })
}

/** What QMP takes as an object, as a word of the command line: VALUE-OF-FIRST,name=value,… */
function asOption(properties: Record<string, string>, first: string): string {
  const { [first]: kind, ...others } = properties
  return [kind, ...Object.entries(others).map(([name, value]) => `${name}=${value}`)].join(',')
}

function portArguments({ id, address, slot }: Port): string[] {
  return ['-device', `pcie-root-port,id=${id},chassis=${slot},slot=${slot},bus=pcie.0,addr=${address}`]
}

function onBus(device: string, slot: number): string {
  return `${device},bus=pcie.0,addr=${hexadecimal(slot)}`
}
