import type { GroupSpec, PortSpec, VpcChange, VpcSpec } from '../driver.ts'
import { Bag, type ItemChange } from './bag.ts'
import {
  type Device, type Fact, frameFacts, hostFacts, hostLinkFacts, portDevice, portFacts, routedInterfaces, tableFacts,
} from './facts.ts'
import { type Frame, frameOf } from './frame.ts'
import type { Names } from './names.ts'
import { natRules, portRules } from './port-rules.ts'
import { type Piece, renderChanges, renderWhole } from './ruleset.ts'
import { frameRules, groupRules } from './vpc-rules.ts'

/** What a change of a VPC means for the kernel. */
export interface KernelChange {
  /** One nftables transaction; null when no rule changes. */
  rules: string | null
  devices: ItemChange<Device>[]
  inside: ItemChange<Fact>[]
  host: ItemChange<Fact>[]
}

/** Everything that one part of a spec contributes. */
interface Contribution {
  rules?: Piece[]
  inside?: Fact[]
  host?: Fact[]
  devices?: Device[]
}

/**
 * All that the kernel should have of a VPC, and which part of the spec each thing is there for. So a
 * change costs what it changes, and ends in the same state as if everything were made anew.
 */
export class DesiredVpc {
  readonly frame: Frame
  readonly #present: ReadonlySet<string>
  readonly #publicInterface: string | null
  readonly #rules = new Bag<Piece>()
  readonly #inside = new Bag<Fact>()
  readonly #host = new Bag<Fact>()
  readonly #devices = new Bag<Device>()
  readonly #contributions = new Map<string, Contribution>()
  readonly #routed: ReadonlySet<string>
  readonly #groups = new Set<string>()

  /**
   * @param present links to peers that exist: the others' routes are blackholes until they do.
   * @param publicInterface the host's interface on which public addresses are answered for.
   */
  constructor(spec: VpcSpec, options: { names: Names; present: ReadonlySet<string>; publicInterface: string | null }) {
    const frame = frameOf(spec, options.names)
    this.frame = frame
    this.#present = options.present
    this.#publicInterface = options.publicInterface
    this.#routed = new Set(routedInterfaces(frame))
    this.#set('frame', {
      rules: [...frameRules(frame), ...frame.natGateways.flatMap((nat) => natRules(frame, nat))],
      inside: frameFacts(frame, options.present),
      host: [...hostLinkFacts(frame), ...frame.natGateways.flatMap((nat) => hostFacts(frame, nat, this.#publicInterface))],
    })
    for (const interfaceId of this.#routed) this.#setRoutes(interfaceId, undefined)
    for (const group of spec.groups) this.#setGroup(group)
    for (const port of spec.ports) this.#setPort(port)
    this.#takeAll()
  }

  get marker(): string {
    return `v_${this.#rules.fingerprint}`
  }

  get wholeRules(): string {
    return renderWhole(this.#rules.values(), this.marker)
  }

  get facts(): { inside: Fact[]; host: Fact[]; devices: Device[] } {
    return { inside: this.#inside.values(), host: this.#host.values(), devices: this.#devices.values() }
  }

  /** @throws Error on what cannot be; then this is not what it was, and of no use any more. */
  apply(change: VpcChange): KernelChange {
    // First all that goes: an address may go from one port to another.
    for (const id of change.removed) this.#clearPort(id)
    for (const port of change.ports) this.#clearPort(port.interfaceId)
    for (const group of change.groups) this.#setGroup(group)
    for (const port of change.ports) this.#setPort(port)
    const before = this.marker
    const changes = this.#takeAll()
    const rules = changes.rules.length === 0 ? null : renderChanges(changes.rules, { before, after: this.marker })
    return { ...changes, inside: [...changes.inside, ...this.#lostWith(changes.devices)], rules }
  }

  /** What goes with a device has to be set again on the one that comes under the same name. */
  #lostWith(devices: readonly ItemChange<Device>[]): ItemChange<Fact>[] {
    const remade = new Set(devices.flatMap(({ before, after }) => (before && after ? after.name : [])))
    if (remade.size === 0) return []
    return this.#inside.values().filter((each) => remade.has(each.dev ?? '')).map((after) => ({ before: undefined, after }))
  }

  #takeAll() {
    return {
      rules: this.#rules.takeChanges(), devices: this.#devices.takeChanges(), inside: this.#inside.takeChanges(),
      host: this.#host.takeChanges(),
    }
  }

  #setGroup(group: GroupSpec): void {
    this.#groups.add(group.groupId)
    this.#set(`group ${group.groupId}`, { rules: groupRules(group) })
  }

  #setPort(port: PortSpec): void {
    const { frame } = this
    const stranger = port.groupIds.find((id) => !this.#groups.has(id))
    if (stranger !== undefined) throw new Error(`bad network spec: group ${stranger} of ${port.interfaceId}: not among the groups`)
    this.#set(`port ${port.interfaceId}`, {
      rules: portRules(frame, port), inside: portFacts(frame, port), host: hostFacts(frame, port, this.#publicInterface),
      devices: [portDevice(frame, port)],
    })
    this.#setRoutes(port.interfaceId, port)
  }

  #clearPort(interfaceId: string): void {
    this.#set(`port ${interfaceId}`, {})
    this.#setRoutes(interfaceId, undefined)
  }

  #setRoutes(interfaceId: string, port: PortSpec | undefined): void {
    if (!this.#routed.has(interfaceId)) return
    this.#set(`routes ${interfaceId}`, {
      inside: tableFacts(this.frame, this.#present, { interfaceId, ...(port && { port }) }),
    })
  }

  #set(source: string, next: Contribution): void {
    const last = this.#contributions.get(source) ?? {}
    for (const item of last.rules ?? []) this.#rules.remove(item)
    for (const item of last.inside ?? []) this.#inside.remove(item)
    for (const item of last.host ?? []) this.#host.remove(item)
    for (const item of last.devices ?? []) this.#devices.remove(item)
    for (const item of next.rules ?? []) this.#rules.add(item)
    for (const item of next.inside ?? []) this.#inside.add(item)
    for (const item of next.host ?? []) this.#host.add(item)
    for (const item of next.devices ?? []) this.#devices.add(item)
    if (Object.keys(next).length > 0) this.#contributions.set(source, next)
    else this.#contributions.delete(source)
  }
}
