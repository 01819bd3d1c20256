/** Where devices sit on the root bus; fixed, so that no disk or interface moves another one. */
export const PCI_SLOT = {
  vga: 0x1, rng: 0x2, serial: 0x3, primaryNic: 0x5, moreNicPorts: 0xf, firstDisk: 0x10, firstPort: 0x1a, nicPorts: 0x1e,
}

/** A PCIe port. What sits on one can come and go while the machine runs, as nothing on the root bus can. */
export interface Port {
  id: string
  /** On the root bus, as QEMU's `addr`. */
  address: string
}

/** Ports for volumes that are attached while the machine runs. */
const VOLUME_PORTS = 4
/** How the ids of ports for interfaces begin; the device index follows. */
const NIC_PORT = 'nicport'
/** As many as a slot of the root bus holds. */
const PORTS_IN_SLOT = 8

/** The ports of a machine for that many interfaces; each costs the guest some 20 ms of its boot under emulation. */
export function portsOf(maxNics: number): Port[] {
  const volumes = Array.from({ length: VOLUME_PORTS }, (_, index) => (
    { id: `port${index + 1}`, address: hexadecimal(PCI_SLOT.firstPort + index) }))
  const nics = Array.from({ length: maxNics - 1 }, (_, index) => (
    { id: `${NIC_PORT}${index + 1}`, address: nicPortAddress(index) }))
  return [...volumes, ...nics]
}

function nicPortAddress(index: number): string {
  const slot = index < PORTS_IN_SLOT ? PCI_SLOT.nicPorts : PCI_SLOT.moreNicPorts
  const position = index % PORTS_IN_SLOT
  return `${hexadecimal(slot)}.${position}${position === 0 ? ',multifunction=on' : ''}`
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
