import { MAX_DISKS, MAX_NICS } from '../driver.ts'

/** Where devices sit on the root bus; fixed, so that no disk or interface moves another one. */
export const PCI_SLOT = {
  vga: 0x1, rng: 0x2, serial: 0x3, primaryNic: 0x5, moreNicPorts: 0xf, root: 0x10, diskPorts: 0x1a, moreDiskPorts: 0x1b, nicPorts: 0x1e,
}

/** A PCIe port. What sits on one can come and go while the machine runs, as nothing on the root bus can. */
export interface Port {
  id: string
  /** On the root bus, as QEMU's `addr`. */
  address: string
  /** Of its slot, by which some guests name what is on it: the same at every start. */
  slot: number
}

/** Ports beyond those that are taken at the start, for volumes that are attached later. */
const SPARE_DISK_PORTS = 4
/** How the ids of ports begin; numbered from 1, those for interfaces by the device index. */
const DISK_PORT = 'port'
const NIC_PORT = 'nicport'
/** As many as a slot of the root bus holds. */
const PORTS_IN_SLOT = 8

/**
 * The ports of a machine that starts with `dataDisks` beside its root, for as many interfaces; each costs
 * the guest some 20 ms of its boot under emulation.
 */
export function portsOf(maxNics: number, dataDisks: number): Port[] {
  const disks = Array.from({ length: Math.min(dataDisks + SPARE_DISK_PORTS, MAX_DISKS - 1) }, (_, index) => (
    {
      id: diskPort(index + 1), address: portAddress(index, PCI_SLOT.diskPorts, PCI_SLOT.moreDiskPorts),
      slot: index < SPARE_DISK_PORTS ? index + 1 : index + MAX_NICS,
    }))
  const nics = Array.from({ length: maxNics - 1 }, (_, index) => (
    {
      id: `${NIC_PORT}${index + 1}`, address: portAddress(index, PCI_SLOT.nicPorts, PCI_SLOT.moreNicPorts),
      slot: index + SPARE_DISK_PORTS + 1,
    }))
  return [...disks, ...nics]
}

/** The port of the n-th data disk at a machine's start, from 1: guests name disks in the order of their ports. */
export function diskPort(position: number): string {
  return `${DISK_PORT}${position}`
}

/** Several to a slot: the root bus has not as many slots as there may be ports. */
function portAddress(index: number, slot: number, nextSlot: number): string {
  const position = index % PORTS_IN_SLOT
  return `${hexadecimal(index < PORTS_IN_SLOT ? slot : nextSlot)}.${position}${position === 0 ? ',multifunction=on' : ''}`
}

/** The first free port for volumes; undefined when none is free. */
export function portForDisk(free: readonly string[]): string | undefined {
  return free.find((id) => id.startsWith(DISK_PORT))
}

export function hexadecimal(slot: number): string {
  return `0x${slot.toString(16)}`
}

/**
 * The port for an interface: the one of its device index, so that a guest finds it in the same place
 * at every start. Where there is none such, or it still has a device that the guest has not let go
 * of, the last of the free ones, those for volumes included: machines of an earlier version have no
 * others. Undefined when none is free.
 */
export function portForNic(deviceIndex: number, free: readonly string[]): string | undefined {
  const own = `${NIC_PORT}${deviceIndex}`
  if (free.includes(own)) return own
  return free.findLast((id) => id.startsWith(NIC_PORT)) ?? free.at(-1)
}
