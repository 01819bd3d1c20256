import { MAX_NICS } from '../driver.ts'

/**
 * PCIe ports on every machine. What sits on them can come and go while the machine runs, as nothing
 * on the root bus can. The first are for interfaces, the others for volumes.
 */
export const PORTS = { nics: MAX_NICS - 1, volumes: 5 }

/** Where devices sit on the root bus; fixed, so that no disk or interface moves another one. */
export const PCI_SLOT = {
  vga: 0x1, rng: 0x2, serial: 0x3, primaryNic: 0x5, firstDisk: 0x10, firstPort: 0x1a, sharedByPorts: 0x1e,
}

/** Ports with a slot of their own; what comes after them shares one, which holds eight. */
const PORTS_WITH_SLOT = 4

/** Where the ports are on the root bus, by number, from 1; as QEMU's `addr`. */
export function portAddress(port: number): string {
  if (port <= PORTS_WITH_SLOT) return hexadecimal(PCI_SLOT.firstPort + port - 1)
  const position = port - PORTS_WITH_SLOT - 1
  const address = `${hexadecimal(PCI_SLOT.sharedByPorts)}.${position}`
  return position === 0 ? `${address},multifunction=on` : address
}

export function hexadecimal(slot: number): string {
  return `0x${slot.toString(16)}`
}

/**
 * The port of an interface: the one of its device index, so that a guest finds it in the same place
 * at every start; where there is none such, or a device that the guest has not let go of is still
 * on it, the last that is free. Undefined when none is.
 */
export function portForNic(deviceIndex: number, isFree: (port: number) => boolean): number | undefined {
  const ports = Array.from({ length: PORTS.nics }, (_, index) => PORTS.nics - index)
  return [deviceIndex, ...ports].find((port) => ports.includes(port) && isFree(port))
}
