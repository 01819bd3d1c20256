import { pick, type Random } from '../core/random.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

const TYPES = ['t3.micro', 't3.small', 'm5.large']
/** How far ahead a reservation ends that does. */
const LONGEST_MS = 8000

/**
 * A random call about capacity reservations or dedicated hosts. Launches go into open reservations by themselves; whatever is
 * refused, or crashes in the midst, room is counted exactly (`capacityProblems`).
 */
export async function drawCapacityCall({ store, random, clock }: SimulatedCloud): Promise<DrawnCall> {
  const { reservations, hosts, zones } = await store.read(async (db) => ({
    reservations: await db.selectFrom('capacity_reservations').select('capacity_reservation_id as id').where('state', '=', 'active').orderBy('id').execute(),
    hosts: await db.selectFrom('dedicated_hosts').select('dedicated_host_id as id').where('state', '=', 'available').orderBy('id').execute(),
    zones: await db.selectFrom('subnets').select('zone').distinct().orderBy('zone').execute(),
  }))
  const AvailabilityZone = pick(random, zones).zone
  const calls: DrawnCall[] = [creation(random, AvailabilityZone, clock.now())]
  if (reservations.length > 0) {
    const { id: CapacityReservationId } = pick(random, reservations)
    const InstanceCount = 1 + random.int(4)
    calls.push(
      { action: 'ModifyCapacityReservation', input: { CapacityReservationId, InstanceCount } },
      { action: 'ModifyCapacityReservation', input: { CapacityReservationId, InstanceMatchCriteria: pick(random, ['open', 'targeted']) } },
      { action: 'CreateCapacityReservationBySplitting', input: { SourceCapacityReservationId: CapacityReservationId, InstanceCount } },
      { action: 'CancelCapacityReservation', input: { CapacityReservationId } },
      { action: 'CancelCapacityReservation', input: { CapacityReservationId } },
    )
  }
  calls.push(hosts.length === 0 || random.int(2) === 0
    ? { action: 'AllocateHosts', input: { InstanceType: pick(random, TYPES), AvailabilityZone, Quantity: 1, AutoPlacement: 'on' } }
    : { action: 'ReleaseHosts', input: { HostIds: [pick(random, hosts).id] } })
  return pick(random, calls)
}

function creation(random: Random, AvailabilityZone: string, nowMs: number): DrawnCall {
  return {
    action: 'CreateCapacityReservation',
    input: {
      InstanceType: pick(random, TYPES), InstancePlatform: 'Linux/UNIX', AvailabilityZone, InstanceCount: 1 + random.int(3),
      InstanceMatchCriteria: pick(random, ['open', 'targeted']),
      // Most of them end by themselves, so that there is room again.
      ...(random.int(4) > 0 ? { EndDate: new Date(nowMs + 1000 + random.int(LONGEST_MS)) } : {}),
    },
  }
}

/** Once everything has settled: what has expired holds nothing any more. */
export async function checkReservations({ store, clock }: SimulatedCloud): Promise<string[]> {
  const rows = await store.read((db) =>
    db.selectFrom('capacity_reservations').selectAll().where('state', '=', 'active').where('end_ms', '<=', clock.now()).execute())
  return rows.map((row) => `${row.capacity_reservation_id} should have expired`)
}
