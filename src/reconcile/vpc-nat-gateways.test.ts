import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { fixedClock, HOST_ID } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { createNatGateway } from '../ec2/create-nat-gateway.ts'
import { deleteNatGateway, describeNatGateways } from '../ec2/nat-gateways.ts'
import { createSimNetwork, createSimNetworkWorld } from '../network/sim.ts'
import type { Store } from '../store/store.ts'
import type { Outcome } from './loop.ts'
import { createVpcReconcilers } from './vpc.ts'

let account: MemoryAccount
let world = createSimNetworkWorld()
beforeEach(async () => {
  account = await openMemoryAccount()
  world = createSimNetworkWorld()
})
afterEach(() => account.store.close())

/** The reconcilers over a store in which `meanwhile` happens after the first read. */
function reconcilers(meanwhile: () => Promise<unknown> = async () => {}) {
  let reads = 0
  const store: Store = {
    onCommit: (listener) => account.store.onCommit(listener),
    close: () => account.store.close(),
    transaction: (name, body) => account.store.transaction(name, body),
    read: async (body) => {
      const result = await account.store.read(body)
      if (reads++ === 0) await meanwhile()
      return result
    },
  }
  const clock = { ...fixedClock, soon: (task: () => void) => void task() }
  return createVpcReconcilers({
    store, clock, random: seededRandom(1), hostId: HOST_ID,
    network: createSimNetwork({ clock, random: seededRandom(2), world }),
  })
}
/** Writes down what a run has seen, as the loop does. */
const record = async ({ observed }: Outcome) => {
  if (observed) await account.query((db) => observed.write(db))
}
const create = async () => {
  const subnet = await account.query((db) =>
    db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow())
  const { NatGateway } = await account.call(createNatGateway, { SubnetId: subnet.subnet_id, ConnectivityType: 'private' })
  return NatGateway?.NatGatewayId ?? ''
}
const stateOf = async (id: string) =>
  (await account.call(describeNatGateways, { NatGatewayIds: [id] })).NatGateways?.[0]?.State
const inForce = () => world.vpcs.get(account.defaultVpcId)?.natGateways.map((each) => each.natGatewayId) ?? []

describe('a NAT gateway', () => {
  it('is available once its VPC is in force, be it after a change of ports', async () => {
    const id = await create()
    expect(await stateOf(id)).toBe('pending')
    await record(await reconcilers().ports.reconcile(account.defaultVpcId))
    expect(inForce()).toEqual([id])
    expect(await stateOf(id)).toBe('available')
  })

  it('is deleted, with its interface, once the network has nothing of it', async () => {
    const id = await create()
    const { vpc, ports } = reconcilers()
    await record(await vpc.reconcile(account.defaultVpcId))
    const other = await create()
    await record(await ports.reconcile(account.defaultVpcId))
    await account.call(deleteNatGateway, { NatGatewayId: id })
    await record(await ports.reconcile(account.defaultVpcId))
    expect(inForce()).toEqual([other])
    expect([await stateOf(id), await stateOf(other)]).toEqual(['deleted', 'available'])
    const rows = await account.query((db) => db.selectFrom('interfaces').select('requester_id').execute())
    expect(rows).toEqual([{ requester_id: other }])
  })

  it('that comes while its VPC is being read is in force after the next run only', async () => {
    const first = await create()
    let late = ''
    await record(await reconcilers(async () => {
      late = await create()
    }).vpc.reconcile(account.defaultVpcId))
    expect(inForce()).toEqual([first])
    expect([await stateOf(first), await stateOf(late)]).toEqual(['available', 'pending'])
    await record(await reconcilers().vpc.reconcile(account.defaultVpcId))
    expect(await stateOf(late)).toBe('available')
  })

  it('that goes while its VPC is being read is deleted after the next run only', async () => {
    const id = await create()
    await record(await reconcilers().vpc.reconcile(account.defaultVpcId))
    await record(await reconcilers(() => account.call(deleteNatGateway, { NatGatewayId: id })).vpc.reconcile(account.defaultVpcId))
    expect([await stateOf(id), inForce()]).toEqual(['deleting', [id]])
    await record(await reconcilers().vpc.reconcile(account.defaultVpcId))
    expect([await stateOf(id), inForce()]).toEqual(['deleted', []])
  })
})
