import type { SimulatedCloud } from './simulator.ts'

/** What must hold at any moment, whatever crashed. */
export async function checkAlways(cloud: SimulatedCloud): Promise<string[]> {
  const { hosts, used } = await cloud.store.read(async (db) => ({
    hosts: await db.selectFrom('hosts').selectAll().execute(),
    used: await db
      .selectFrom('instances')
      .select((eb) => [eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('memory_mib').as('memory')])
      .where('holds_capacity', '=', 1).executeTakeFirstOrThrow(),
  }))
  const problems: string[] = []
  for (const host of hosts) {
    if (host.vcpus_used !== (used.vcpus ?? 0) || host.memory_mib_used !== (used.memory ?? 0)) {
      problems.push(`capacity leaked: ${host.vcpus_used} vCPUs counted, ${used.vcpus ?? 0} in use`)
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
    interfaces: await db.selectFrom('interfaces').selectAll().execute(),
    slots: await db.selectFrom('slots').selectAll().where('kind', '=', 'machine').execute(),
  }))
  const { world, network } = cloud.host
  const running = [...world.machines.values()].filter((machine) => machine.process).map((machine) => machine.instanceId)
  return [
    ...differences('running machines', running, idsIn(rows.instances, ['running'])),
    ...differences('machine folders', [...world.machines.keys()].filter((id) => !everStarted(rows.instances, id)), []),
    ...differences('disks', [...world.volumes.values()].map((volume) => volume.volumeId), rows.volumes.map((row) => row.volume_id)),
    ...differences(
      'ports',
      network.ports().map((port) => `${port.interfaceId} ${port.privateIp} ${port.publicIp ?? '-'}`),
      rows.interfaces.filter((row) => row.wanted === 1).map((row) => `${row.interface_id} ${row.private_ip} ${row.public_ip ?? '-'}`),
    ),
    ...differences('slots', rows.slots.map((row) => row.owner_id), rows.instances.map((row) => row.instance_id)),
    ...rows.interfaces.filter((row) => row.wanted === 0 && row.public_ip !== null).map((row) => `${row.interface_id} keeps a public address`),
    ...rows.volumes.filter((row) => row.ready === 0).map((row) => `${row.volume_id} is ${row.state} and has no file`),
    ...rows.instances
      .filter((row) => !['running', 'stopped', 'terminated'].includes(row.state))
      .map((row) => `${row.instance_id} is still ${row.state}`),
    ...rows.instances
      .filter((row) => row.reboot_completed < row.reboot_requested && row.state === 'running')
      .map((row) => `${row.instance_id} was never rebooted`),
  ]
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
