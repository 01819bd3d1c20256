import type { ItemChange } from './bag.ts'
import type { KernelChange } from './desired.ts'
import type { Device, Fact } from './facts.ts'
import { makeTap, markTap, raiseTap } from './links.ts'
import { DOOMED_GROUP } from './names.ts'
import { tapSettings } from './settings.ts'

/** A change as one shell's work, since a process costs more than what it does. Null where there is nothing to do. */
export function insideCommands(change: KernelChange): { script: string; rules: string } | null {
  const gone = change.devices.flatMap(({ before }) => before ?? [])
  const fresh = change.devices.flatMap(({ after }) => after ?? [])
  const goneNames = new Set(gone.map((each) => each.name))
  const parts = [
    ...(change.rules === null ? [] : ['nft -f -']),
    ...removals(change.inside, goneNames),
    ...removalOf(gone),
    ...(fresh.length > 0 ? [makingOf(fresh), tapSettings(fresh.map((each) => each.name))] : []),
    ...batch([...fresh.map(raiseTap), ...settings(change.inside), ...fresh.map(markTap)]),
  ]
  return parts.length === 0 ? null : { script: ['set -e', ...parts].join('\n'), rules: change.rules ?? '' }
}

export function hostCommands(change: KernelChange): string | null {
  const parts = [...removals(change.host, new Set()), ...batch(settings(change.host))]
  return parts.length === 0 ? null : ['set -e', ...parts].join('\n')
}

/** What another VPC has taken over in the meantime is not there to be removed. */
function removals(changes: readonly ItemChange<Fact>[], goneDevices: ReadonlySet<string>): string[] {
  const lines = changes.flatMap(({ before, after }) =>
    (before && !after && !goneDevices.has(before.dev ?? '') ? before.unset : []))
  return lines.length === 0 ? [] : [`ip -force -batch - 2>/dev/null << 'END' || :\n${lines.join('\n')}\nEND`]
}

function settings(changes: readonly ItemChange<Fact>[]): string[] {
  return changes.flatMap(({ after }) => after?.set ?? [])
}

/** Each device by itself costs the kernel some 20 ms; a group goes at once. */
function removalOf(devices: readonly Device[]): string[] {
  if (devices.length === 0) return []
  return batch([...devices.map(({ name }) => `link set dev ${name} group ${DOOMED_GROUP}`), `link del group ${DOOMED_GROUP}`])
}

/** A device that is there already is taken as it is. */
function makingOf(devices: readonly Device[]): string {
  const lines = devices.map((each) => `[ -d /proc/sys/net/ipv4/conf/${each.name} ] || echo "${makeTap(each)}"`)
  return `{\n${lines.join('\n')}\n} | ip -batch -`
}

function batch(lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`ip -batch - << 'END'\n${lines.join('\n')}\nEND`]
}
