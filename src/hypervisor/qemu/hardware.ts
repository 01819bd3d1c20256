import { readFileSync } from 'node:fs'
import { MemoryImageError, type MachineSpec } from '../driver.ts'
import { machineArguments } from './arguments.ts'
import { BlockGraph } from './block-graph.ts'
import type { Execute } from './devices.ts'
import { deviceId } from './disk-nodes.ts'
import { freshLayout, readLayout, type Layout } from './layout.ts'
import { cutOffNics, nicDevice } from './nics.ts'
import { commandLine } from './process.ts'

/** What a machine was when its memory was saved, and must be again for its guest to go on. */
export interface Hardware {
  /** For people. */
  qemuVersion: string
  /** What QEMU was started with, by the option. */
  options: Record<string, string>
  /** The host's processor, where the guest runs on it as it is. */
  processor: string | null
  layout: Layout
}

/** Options that must be as they were, and what they are. */
const OPTIONS: Record<string, string> = {
  '-machine': 'machine type', '-accel': 'accelerator', '-cpu': 'processor', '-smp': 'number of processors', '-m': 'memory', '-uuid': 'uuid',
}

/**
 * Reads it from a machine that has a process.
 *
 * @throws MemoryImageError for one with devices that could not be made again: their files or taps were taken away.
 */
export async function readHardware(execute: Execute, pid: number): Promise<Hardware> {
  const graph = await BlockGraph.read(execute)
  const cutOff = [...graph.disks.filter((disk) => disk.nodes.length === 0).map((disk) => disk.volumeId), ...await cutOffNics(execute)]
  if (cutOff.length > 0) throw new MemoryImageError(`its guest has not given up what was detached by force: ${cutOff.join(', ')}`)
  const options = optionsOf(commandLine(pid))
  const { qemu } = (await execute('query-version')) as { qemu: { major: number; minor: number; micro: number } }
  return {
    qemuVersion: `${qemu.major}.${qemu.minor}.${qemu.micro}`, options,
    processor: options['-accel'] === 'kvm' ? hostProcessor() : null, layout: await readLayout(execute),
  }
}

/**
 * Checks that this host can make of the spec what the guest was saved in.
 *
 * @throws MemoryImageError that says what differs.
 */
export function checkHardware(saved: Hardware, spec: MachineSpec, offers: { kvm: boolean }): void {
  const options = optionsOf(machineArguments(spec, '/', { ports: [], places: {} }))
  for (const [option, what] of Object.entries(OPTIONS)) {
    const [before, now] = [saved.options[option] ?? 'none', options[option] ?? 'none']
    if (before !== now) throw new MemoryImageError(`it was saved with another ${what}: ${before}, and the instance has ${now}`)
  }
  if (spec.platform.accelerator === 'kvm' && !offers.kvm) {
    throw new MemoryImageError('its guest ran under KVM, which this host does not offer')
  }
  const processor = saved.processor === null ? null : hostProcessor()
  if (saved.processor !== processor) {
    throw new MemoryImageError(`its guest ran on another processor (${saved.processor}) than this host's (${processor})`)
  }
  const devices = new Set([...spec.disks.map((disk) => deviceId(disk.volumeId)), ...spec.nics.map((nic) => nicDevice(nic).id)])
  const missing = Object.keys(saved.layout.places).filter((id) => !devices.has(id))
  if (missing.length > 0) throw new MemoryImageError(`its guest has devices that the instance has not any more: ${missing.join(', ')}`)
  for (const id of Object.keys(freshLayout({ ...spec, disks: spec.disks.slice(0, 1), nics: spec.nics.filter((nic) => nic.deviceIndex === 0) }).places)) {
    if (!(id in saved.layout.places)) throw new MemoryImageError(`its guest was saved without ${id}`)
  }
}

function optionsOf(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.keys(OPTIONS).map((option) => [option, words[words.indexOf(option) + 1] ?? '']))
}

/** What tells kinds of processors apart, x86 or Arm; a guest may use all that it can. */
function hostProcessor(): string {
  const [first = ''] = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n', 1)
  const fields = ['vendor_id', 'cpu family', 'model', 'CPU implementer', 'CPU part']
  return fields.flatMap((field) => new RegExp(`^${field}\\s*: (.*)$`, 'm').exec(first)?.[1] ?? []).join(' ')
}
