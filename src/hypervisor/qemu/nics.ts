import type { NicSpec } from '../driver.ts'
import { deviceIds, freePorts, isNotFound, requestUnplug, type Execute } from './devices.ts'
import { portForNic } from './places.ts'

/** What holds the tap of an interface. */
export function nicNetdev(nic: NicSpec): Record<string, string> {
  return { type: 'tap', id: netdevId(nic), ifname: nic.tap, script: 'no', downscript: 'no' }
}

/** What the guest sees of it. */
export function nicDevice(nic: NicSpec): Record<string, string> {
  const id = nic.deviceIndex === 0 ? `${FIXED_DEVICE}${nic.interfaceId}` : `${DEVICE}${nic.attachmentId}`
  return { driver: 'virtio-net-pci', id, netdev: netdevId(nic), mac: nic.mac, romfile: '' }
}

/** How the id of the primary interface's device begins, that of the interface follows. */
const FIXED_DEVICE = 'nic-'
/** How the ids of devices that can come and go begin, and of their netdevs; an attachment's follows. */
const DEVICE = 'plug-'
const NETDEV = 'link-'

function netdevId(nic: NicSpec): string {
  return nic.deviceIndex === 0 ? 'net0' : `${NETDEV}${nic.attachmentId}`
}

/** Whether a device with that id is an interface. */
export function isNicDevice(id: string): boolean {
  return id.startsWith(FIXED_DEVICE) || id.startsWith(DEVICE)
}

/** Attachments that the guest has not given up, and whose taps were taken away. */
export async function cutOffNics(execute: Execute): Promise<string[]> {
  const linked = await netdevs(execute)
  return (await pluggedIn(execute)).filter((id) => !linked.includes(id))
}

/**
 * See Hypervisor.ensureNics. What the machine has is read from QEMU every time, so that this may be
 * cut short anywhere and run again, also by another agent.
 */
export async function ensureNics(execute: Execute, nics: readonly NicSpec[], cutOff: readonly string[]): Promise<string[]> {
  const others = nics.filter((nic) => nic.deviceIndex !== 0)
  const wanted = new Set(others.map((nic) => nic.attachmentId))
  const found = await pluggedIn(execute)
  const unwanted = found.filter((id) => !wanted.has(id))
  for (const id of unwanted) await requestUnplug(execute, `${DEVICE}${id}`)
  for (const id of unwanted.filter((each) => cutOff.includes(each))) await removeNetdev(execute, id)
  const missing = others.filter((nic) => !found.includes(nic.attachmentId))
  // A netdev outlives its device, and an attempt that was cut short may have left one without.
  const idle = (await netdevs(execute)).filter((id) => !found.includes(id))
  for (const id of idle) await removeNetdev(execute, id)
  for (const nic of missing) await plug(execute, nic)
  return unwanted.length + missing.length === 0 ? found : pluggedIn(execute)
}

/** Attachments that the machine has as devices. */
async function pluggedIn(execute: Execute): Promise<string[]> {
  const names = await deviceIds(execute)
  return names.filter((name) => name.startsWith(DEVICE)).map((name) => name.slice(DEVICE.length))
}

/** Attachments of which there is a netdev: each is a line of `info network`, indented when a device has it. */
async function netdevs(execute: Execute): Promise<string[]> {
  const text = String(await execute('human-monitor-command', { 'command-line': 'info network' }))
  return [...text.matchAll(NETDEV_LINE)].map(([, id]) => id ?? '')
}

const NETDEV_LINE = new RegExp(`^(?: \\\\ )?${NETDEV}([\\w.-]+): index=0,type=tap`, 'gm')

async function plug(execute: Execute, nic: NicSpec): Promise<void> {
  const port = portForNic(nic.deviceIndex, await freePorts(execute))
  // Guests that do not let go of devices can keep all ports; the next try may find one.
  if (port === undefined) return
  await execute('netdev_add', nicNetdev(nic))
  await execute('device_add', { ...nicDevice(nic), bus: port })
}

/** Lets go of the tap. A device that is still there is without a link from now on. */
async function removeNetdev(execute: Execute, attachmentId: string): Promise<void> {
  try {
    await execute('netdev_del', { id: `${NETDEV}${attachmentId}` })
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
}
