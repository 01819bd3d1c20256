import { MAX_NICS, type MachineSpec } from '../driver.ts'
import { deviceIds, isPort, type Execute } from './devices.ts'
import { deviceId, diskOfDevice } from './disk-nodes.ts'
import { isNicDevice, nicDevice } from './nics.ts'
import { diskPort, hexadecimal, PCI_SLOT, portForNic, portsOf, type Port } from './places.ts'

/** Where the devices of a machine sit. What its guest knows of them depends on that. */
export interface Layout {
  ports: Port[]
  /** Of each disk and interface, by the id of its device: where it sits, as words of -device. */
  places: Record<string, string>
}

/** The layout of a machine that is started afresh. @throws Error for a spec that has no place on the machine's bus. */
export function freshLayout({ instanceId, disks, nics, ...spec }: MachineSpec): Layout {
  const maxNics = Math.min(spec.maxNics, MAX_NICS)
  if (nics.length > maxNics) throw new Error(`${instanceId} has more than ${maxNics} interfaces`)
  const ports = portsOf(maxNics, Math.max(0, disks.length - 1))
  const places: Record<string, string> = {}
  for (const [index, { volumeId }] of disks.entries()) {
    places[deviceId(volumeId)] = index === 0 ? onRootBus(PCI_SLOT.root) : `bus=${diskPort(index)}`
  }
  let free = ports.map((port) => port.id)
  // In their order, so that one whose index has no port takes nobody's place.
  for (const nic of nics.toSorted((a, b) => a.deviceIndex - b.deviceIndex)) {
    const port = nic.deviceIndex === 0 ? null : portForNic(nic.deviceIndex, free)
    if (port === undefined) throw new Error(`no place for ${nic.interfaceId} at device index ${nic.deviceIndex}`)
    free = free.filter((each) => each !== port)
    places[nicDevice(nic).id ?? ''] = port === null ? onRootBus(PCI_SLOT.primaryNic) : `bus=${port}`
  }
  return { ports, places }
}

/** The layout that a machine has now, also by what came and went since its start. */
export async function readLayout(execute: Execute): Promise<Layout> {
  const layout: Layout = { ports: [], places: {} }
  const ids = (await deviceIds(execute)).toSorted()
  for (const id of ids) {
    const path = `/machine/peripheral/${id}`
    const read = (property: string) => execute('qom-get', { path, property })
    if (!isPort(id) && !diskOfDevice(id) && !isNicDevice(id)) continue
    const bus = String(await read('parent_bus')).split('/').at(-1) ?? ''
    const address = addressOf(Number(await read('addr')), (await read('multifunction')) === true)
    if (isPort(id)) layout.ports.push({ id, address, slot: Number(await read('slot')) })
    // A port has room for one device only. A disk that came back while it was going has another name.
    else layout.places[deviceOf(id)] = ids.includes(bus) ? `bus=${bus}` : `bus=${bus},addr=${address}`
  }
  return layout
}

function deviceOf(id: string): string {
  const disk = diskOfDevice(id)
  return disk ? deviceId(disk.volumeId) : id
}

/** As -device takes it. */
function addressOf(place: number, isMultifunction: boolean): string {
  const [slot, position] = [place >> 3, place & 7]
  if (!isMultifunction && position === 0) return hexadecimal(slot)
  return `${hexadecimal(slot)}.${position}${position === 0 ? ',multifunction=on' : ''}`
}

function onRootBus(slot: number): string {
  return `bus=pcie.0,addr=${hexadecimal(slot)}`
}
