import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cancelCapacityReservation } from '../../src/ec2/capacity-reservations.ts'
import { createCapacityReservation } from '../../src/ec2/capacity-reservations-create.ts'
import { modifyCapacityReservation } from '../../src/ec2/capacity-reservations-modify.ts'
import { createCapacityReservationBySplitting, moveCapacityReservationInstances } from '../../src/ec2/capacity-reservations-split.ts'
import { allocateHosts } from '../../src/ec2/dedicated-hosts-allocate.ts'
import { releaseHosts } from '../../src/ec2/dedicated-hosts.ts'
import { NOW_MS } from '../support/rows.ts'
import { openCapacityLab, type CapacityLab, type LabAccount } from '../support/capacity-lab.ts'

/** How many histories are drawn, as far as the time allows; more of them: HEARTH_CAPACITY_RUNS=1000. */
const RUNS = Number(process.env.HEARTH_CAPACITY_RUNS ?? 40)
const TIME_LIMIT_MS = process.env.HEARTH_CAPACITY_RUNS === undefined ? 15_000 : undefined

const HOSTS = { 'host-a1': 'us-east-1a', 'host-a2': 'us-east-1a', 'host-b1': 'us-east-1b' }
const TYPES = ['t3.small', 't3.medium'] as const

/** One thing that somebody does; `which` picks among what is there. */
const anyStep = fc.record({
  verb: fc.constantFrom(
    'launch', 'launch', 'launch', 'launch', 'stop', 'start', 'terminate', 'reserve', 'reserve', 'modify', 'open', 'cancel', 'expire', 'split', 'move',
    'allocate', 'release',
  ),
  who: fc.constantFrom('mine', 'mine', 'other'),
  which: fc.nat(20),
  count: fc.integer({ min: 1, max: 4 }),
  type: fc.constantFrom(...TYPES),
  zone: fc.constantFrom('us-east-1a', 'us-east-1b'),
  criteria: fc.constantFrom('open', 'targeted'),
  tenancy: fc.constantFrom('default', 'default', 'default', 'dedicated', 'host'),
  preference: fc.constantFrom('open', 'open', 'none', 'capacity-reservations-only'),
  isTargeted: fc.boolean(),
  /** Fewer processors than the type has. */
  hasOneCore: fc.boolean(),
  isSpot: fc.boolean(),
})
type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never

/** Ids of what the steps so far have made; what became of it the cloud says. */
interface Known {
  instances: string[]
  reservations: string[]
  hosts: string[]
}

const pick = (ids: readonly string[], which: number) => ids[which % Math.max(1, ids.length)] ?? ''

function launchInput(step: Step, known: Known) {
  const reservation = !step.isSpot && step.isTargeted && known.reservations.length > 0
    ? { CapacityReservationTarget: { CapacityReservationId: pick(known.reservations, step.which) } }
    : step.isSpot ? {} : { CapacityReservationPreference: step.preference }
  return {
    InstanceType: step.type, MinCount: 1, MaxCount: step.count,
    Placement: { AvailabilityZone: step.zone, Tenancy: step.tenancy },
    ...(step.tenancy === 'host' ? {} : { CapacityReservationSpecification: reservation }),
    ...(step.hasOneCore ? { CpuOptions: { CoreCount: 1, ThreadsPerCore: 1 } } : {}),
    ...(step.isSpot ? { InstanceMarketOptions: { MarketType: 'spot' as const } } : {}),
  }
}

/** The calls of a step, of which any may be refused. */
async function take(lab: CapacityLab, account: LabAccount, step: Step, known: Known): Promise<void> {
  const instance = pick(known.instances, step.which)
  const reservation = pick(known.reservations, step.which)
  const other = pick(known.reservations, step.which + step.count)
  const InstanceCount = step.count
  switch (step.verb) {
    case 'launch': return void known.instances.push(...await account.launch(launchInput(step, known)))
    case 'stop': return account.stop(instance)
    case 'start': return account.start(instance)
    case 'terminate': return account.terminate(instance)
    case 'reserve': {
      const { CapacityReservation } = await account.call(createCapacityReservation, {
        InstanceType: step.type, InstancePlatform: 'Linux/UNIX', AvailabilityZone: step.zone, InstanceCount,
        InstanceMatchCriteria: step.criteria, Tenancy: step.tenancy === 'dedicated' ? 'dedicated' : 'default',
        ...(step.isTargeted ? { EndDate: new Date(NOW_MS + step.which * 1000 + 1000) } : {}),
      })
      return void known.reservations.push(CapacityReservation?.CapacityReservationId ?? '')
    }
    case 'modify': return void await account.call(modifyCapacityReservation, { CapacityReservationId: reservation, InstanceCount })
    case 'open': return void await account.call(modifyCapacityReservation, { CapacityReservationId: reservation, InstanceMatchCriteria: step.criteria })
    case 'cancel': return void await account.call(cancelCapacityReservation, { CapacityReservationId: reservation })
    case 'expire':
      lab.pass(2000)
      return step.isTargeted ? lab.runDueWork() : undefined
    case 'split': {
      const { DestinationCapacityReservation: made } =
        await account.call(createCapacityReservationBySplitting, { SourceCapacityReservationId: reservation, InstanceCount })
      return void known.reservations.push(made?.CapacityReservationId ?? '')
    }
    case 'move': return void await account.call(moveCapacityReservationInstances, {
      SourceCapacityReservationId: reservation, DestinationCapacityReservationId: other, InstanceCount,
    })
    case 'allocate': return void known.hosts.push(...(await account.call(allocateHosts, {
      InstanceType: step.type, AvailabilityZone: step.zone, Quantity: 1, AutoPlacement: 'on',
    })).HostIds ?? [])
    case 'release': return void await account.call(releaseHosts, { HostIds: [pick(known.hosts, step.which)] })
  }
}

/** Refusals are answers; anything else that goes wrong is ours. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ApiError' || /no result|no way from/.test(error.message))
}

test('whatever is launched, reserved, allocated and ended: room is counted exactly, never promised twice, and never used by two at once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 20, maxLength: 50, size: 'max' }), async (steps) => {
      // Full with few instances: what matters happens where room is short.
      const lab = await openCapacityLab({ hosts: HOSTS, vcpus: 8, memoryMib: 8192 })
      const known = { mine: emptyKnown(), other: emptyKnown() }
      try {
        for (const [index, step] of steps.entries()) {
          const account = step.who === 'other' ? lab.as('other') : lab
          await take(lab, account, step, known[step.who]).catch((error: unknown) => {
            if (!isRefusal(error)) throw error
          })
          expect(await lab.problems(), `after step ${index}, ${step.verb}`).toEqual([])
        }
      } finally {
        await lab.close()
      }
    }),
    { numRuns: RUNS, ...(TIME_LIMIT_MS === undefined ? {} : { interruptAfterTimeLimit: TIME_LIMIT_MS, markInterruptAsFailure: false }) },
  )
})

function emptyKnown(): Known {
  return { instances: [], reservations: [], hosts: [] }
}
