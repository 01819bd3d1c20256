import type { SimWorld } from '../hypervisor/sim-world.ts'
import { interfaceDoc } from '../model/interface.ts'
import type { AddressTable, InstanceTable, InterfaceAddressTable, InterfaceTable } from '../store/schema.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What must hold at any moment, whatever crashed. */
export async function checkAlways(cloud: SimulatedCloud): Promise<string[]> {
  const { hosts, used } = await cloud.store.read(async (db) => ({
    hosts: await db.selectFrom('hosts').selectAll().execute(),
    used: await db
      .selectFrom('instances')
      .select((eb) => ['host_id', eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('memory_mib').as('memory')])
      .where('holds_capacity', '=', 1).groupBy('host_id').execute(),
  }))
  const usedOn = new Map(used.map((row) => [row.host_id, row]))
  // What happened to guests that must not.
  const problems = cloud.host.world.harm.splice(0)
  for (const host of hosts) {
    const { vcpus = 0, memory = 0 } = usedOn.get(host.host_id) ?? {}
    if (host.vcpus_used !== vcpus || host.memory_mib_used !== memory) {
      problems.push(`capacity leaked on ${host.host_id}: ${host.vcpus_used} vCPUs counted, ${vcpus} in use`)
    }
    if (host.vcpus_used > host.vcpus || host.memory_mib_used > host.memory_mib) problems.push('capacity oversold')
  }
  return problems
}

/** What must hold once everything has settled: the world is what the rows say, no more and no less. */
export async function checkSettled(cloud: SimulatedCloud): Promise<string[]> {
  const rows = await cloud.store.read(async (db) => ({
    instances: await db.selectFrom('instances').selectAll().execute(),
    volumes: await db.selectFrom('volumes').selectAll().execute(),
    layers: await db.selectFrom('layers').selectAll().execute(),
    interfaces: await db.selectFrom('interfaces').selectAll().execute(),
    addresses: await db.selectFrom('addresses').selectAll().execute(),
    secondary: await db.selectFrom('interface_addresses').selectAll().execute(),
    slots: await db.selectFrom('slots').selectAll().where('kind', '=', 'machine').execute(),
  }))
  const { world, network } = cloud.host
  const running = [...world.machines.values()].filter((machine) => machine.process).map((machine) => machine.instanceId)
  return [
    ...differences('running machines', running, idsIn(rows.instances, ['running'])),
    ...differences('machine folders', [...world.machines.keys()].filter((id) => !everStarted(rows.instances, id)), []),
    ...differences('layers', [...world.layers.keys()], rows.layers.map((row) => row.layer_id)),
    ...differences(
      'ports',
      network.ports().map((port) => `${port.interfaceId} ${port.privateIp} ${port.publicIp ?? '-'}`),
      rows.interfaces.filter((row) => row.wanted === 1 && row.requester_id === null).map((row) => `${row.interface_id} ${row.private_ip} ${row.public_ip ?? '-'}`),
    ),
    ...differences('interfaces of machines', pluggedIn(world), attachedTo(rows)),
    ...differences('slots', rows.slots.map((row) => row.owner_id), slotOwners(rows)),
    ...addressProblems(rows),
    ...rows.interfaces.filter((row) => isUnsettled(row)).map((row) => `${row.interface_id} is still ${row.status}`),
    ...rows.volumes.filter((row) => row.ready === 0).map((row) => `${row.volume_id} is ${row.state} and has no file`),
    ...rows.instances
      .filter((row) => !['running', 'stopped', 'terminated'].includes(row.state))
      .map((row) => `${row.instance_id} is still ${row.state}`),
    ...rows.instances
      .filter((row) => row.reboot_completed < row.reboot_requested && row.state === 'running')
      .map((row) => `${row.instance_id} was never rebooted`),
  ]
}

/** What running machines have, but for what was cut off and waits for the guest. */
function pluggedIn(world: SimWorld): string[] {
  return [...world.machines.values()].flatMap(({ instanceId, process }) =>
    [...process?.nics.values() ?? []].filter((nic) => nic.hasLink).map(({ spec }) =>
      `${instanceId} ${spec.deviceIndex} ${spec.interfaceId} ${spec.attachmentId}`))
}

function attachedTo({ instances, interfaces }: { instances: InstanceTable[]; interfaces: InterfaceTable[] }): string[] {
  const running = idsIn(instances, ['running'])
  return interfaces.filter((row) => running.includes(row.instance_id ?? '')).map((row) =>
    `${row.instance_id} ${row.device_index} ${row.interface_id} ${interfaceDoc(row).attachmentId}`)
}

/** Instances, and interfaces that have not their instance's slot but one of their own. */
function slotOwners({ instances, interfaces }: { instances: InstanceTable[]; interfaces: InterfaceTable[] }): string[] {
  const slots = new Map(instances.map((row) => [row.instance_id, row.slot]))
  const own = interfaces.filter((row) => row.slot !== null && row.slot !== slots.get(row.instance_id ?? ''))
  return [...slots.keys(), ...own.map((row) => row.interface_id)]
}

/** Interfaces that are on their way, or that nothing has and that have a place on a host nevertheless. */
function isUnsettled(row: InterfaceTable): boolean {
  if (row.status === 'pending' && row.instance_id !== null) return true
  return row.status === 'detaching' || row.status === 'removing' || (row.status === 'available' && row.host_id !== null)
}

interface AddressRows {
  interfaces: InterfaceTable[]
  secondary: InterfaceAddressTable[]
  addresses: AddressTable[]
}

/** Every address belongs to one; Elastic IPs stand where they are associated, and others only at ports. */
function addressProblems({ interfaces, secondary, addresses }: AddressRows): string[] {
  const holders = [...interfaces, ...secondary]
  const holderOf = (row: AddressTable) =>
    holders.find((each) => each.interface_id === row.interface_id && each.private_ip === row.private_ip)
  const elastic = new Set(addresses.filter((row) => row.interface_id !== null).map((row) => row.public_ip))
  const parked = new Set(interfaces.filter((row) => row.wanted === 0).map((row) => row.interface_id))
  return [
    ...twice(holders.map((each) => `${each.vpc_id} ${each.private_ip}`)),
    ...twice([
      ...holders.flatMap((each) => (each.public_ip !== null && !elastic.has(each.public_ip) ? each.public_ip : [])),
      ...addresses.map((row) => row.public_ip),
    ]),
    ...addresses.filter((row) => row.interface_id !== null && holderOf(row)?.public_ip !== row.public_ip)
      .map((row) => `${row.allocation_id} is associated with what has not its address`),
    ...holders.filter((each) => parked.has(each.interface_id) && each.public_ip !== null && !elastic.has(each.public_ip))
      .map((each) => `${each.interface_id} keeps a public address`),
  ]
}

function twice(values: string[]): string[] {
  return values.filter((each, index) => values.indexOf(each) !== index).map((each) => `${each} belongs to two`)
}

function idsIn(rows: { instance_id: string; state: string }[], states: string[]): string[] {
  return rows.filter((row) => states.includes(row.state)).map((row) => row.instance_id)
}

function everStarted(rows: { instance_id: string }[], id: string): boolean {
  return rows.some((row) => row.instance_id === id)
}

function differences(what: string, found: string[], wanted: string[]): string[] {
  const foundSet = new Set(found)
  const wantedSet = new Set(wanted)
  return [
    ...found.filter((each) => !wantedSet.has(each)).map((each) => `${what}: ${each} leaked`),
    ...wanted.filter((each) => !foundSet.has(each)).map((each) => `${what}: ${each} is missing`),
  ]
}
