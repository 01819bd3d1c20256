import { QmpError } from './qmp.ts'

/** Runs one QMP command on the machine; `timeoutMs` where it may take longer than most. */
export type Execute = (command: string, args?: Record<string, unknown>, timeoutMs?: number) => Promise<unknown>

/** A machine that runs, as the code of its disks sees it. */
export interface Qemu {
  execute: Execute
  /** Its working directory. */
  folder: string
  /** Whom the files that it writes belong to; null when that is this process's user. */
  uid: number | null
}

/** Opening may read several files, and derives a key for each that is encrypted. */
export const OPEN_TIMEOUT_MS = 20_000

/** Names of the children of an object. */
export async function childrenOf(execute: Execute, path: string): Promise<string[]> {
  return ((await execute('qom-list', { path })) as { name: string }[]).map(({ name }) => name)
}

/** Ids of the devices that have one. */
export function deviceIds(execute: Execute): Promise<string[]> {
  return childrenOf(execute, '/machine/peripheral')
}

/** Whether a device with that id is a port, for others to be plugged in. */
export function isPort(id: string): boolean {
  return /^(nic)?port\d+$/.test(id)
}

/** Ports without a device, in the order of their numbers. */
export async function freePorts(execute: Execute): Promise<string[]> {
  const free: string[] = []
  for (const name of await deviceIds(execute)) {
    if (!isPort(name)) continue
    // Its bus has its name.
    const onPort = await childrenOf(execute, `/machine/peripheral/${name}/${name}`)
    if (!onPort.some((each) => each.startsWith('child['))) free.push(name)
  }
  return free.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

/** Asks the guest to give the device up. One that is asked already, or has given it up by now, is left alone. */
export async function requestUnplug(execute: Execute, id: string): Promise<void> {
  try {
    await execute('device_del', { id })
  } catch (error) {
    if (!isNotFound(error) && !says(error, 'in the process of unplug')) throw error
  }
}

/** Whether QEMU refused since it has no such device. */
export function isNotFound(error: unknown): boolean {
  return error instanceof QmpError && error.errorClass === 'DeviceNotFound'
}

/** Whether QEMU refused with these words. */
export function says(error: unknown, words: string): boolean {
  return error instanceof QmpError && error.message.includes(words)
}
