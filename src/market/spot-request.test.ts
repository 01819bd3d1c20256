import { describe, expect, it } from 'vitest'
import { NOW_MS } from '../../test/support/rows.ts'
import { openSpotLab, type SpotLab } from '../../test/support/spot-lab.ts'
import { type ApiError } from '../core/errors.ts'
import { requestStops } from '../cli/down.ts'
import { cancelSpotInstanceRequests } from '../ec2/cancel-spot-instance-requests.ts'
import { startInstances, stopInstances, terminateInstances } from '../ec2/instance-lifecycle.ts'
import { createNetworkInterface } from '../ec2/create-network-interface.ts'
import { deleteKeyPair } from '../ec2/key-pairs.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { NOTICE_MS } from '../model/spot-market.ts'

const DAY_MS = 86_400_000

const persistent = (behavior: 'terminate' | 'stop' | 'hibernate' = 'terminate') =>
  ({ Type: 'persistent', InstanceInterruptionBehavior: behavior }) as const
const only = async (lab: SpotLab) => (await lab.instances())[0]?.instance_id ?? ''

describe('A spot request', () => {
  it('is fulfilled when the market has room, and closed when its user ends its instance', async () => {
    const lab = await openSpotLab()
    await lab.ask()
    await lab.pass(1000)
    expect(await lab.states()).toEqual(['active fulfilled'])
    const id = await only(lab)
    await lab.run((context) => terminateInstances(context, { InstanceIds: [id] }))
    await lab.pass(1000)
    expect(await lab.states()).toEqual(['closed instance-terminated-by-user'])
    await lab.pass(4 * 3_600_000)
    expect(await lab.store.read((db) => db.selectFrom('spot_requests').selectAll().execute())).toEqual([])
    expect(await lab.store.read((db) => db.selectFrom('work').select('id').where('kind', '=', 'spot-request').execute())).toEqual([])
  })

  it('is not evaluated before its time, and expires at its end', async () => {
    const lab = await openSpotLab()
    await lab.cap(0)
    await lab.ask({ ValidFrom: new Date(NOW_MS + 60_000), ValidUntil: new Date(NOW_MS + 120_000) })
    await lab.pass(59_999)
    expect(await lab.states()).toEqual(['open not-scheduled-yet'])
    await lab.pass(1)
    expect(await lab.states()).toEqual(['open capacity-not-available'])
    await lab.pass(60_000)
    expect(await lab.states()).toEqual(['cancelled schedule-expired'])
    await lab.cap(1_000_000)
    await lab.pass(60_000)
    expect(await lab.instances()).toEqual([])
  })

  it('that is over while its instance runs is cancelled, and the instance goes on', async () => {
    const lab = await openSpotLab()
    await lab.ask({ ValidUntil: new Date(NOW_MS + DAY_MS) })
    await lab.pass(DAY_MS)
    expect(await lab.states()).toEqual(['cancelled request-canceled-and-instance-running'])
    expect((await lab.instances()).map((each) => each.state)).toEqual(['running'])
    const id = await only(lab)
    await lab.run((context) => terminateInstances(context, { InstanceIds: [id] }))
    await lab.pass(1000)
    expect(await lab.states()).toEqual(['cancelled instance-terminated-by-user'])
  })

  it.each([['by-price', 'instance-terminated-by-price'], ['no-capacity', 'instance-terminated-no-capacity']] as const)(
    'that is one-time is closed when its instance was interrupted %s', async (cause, status) => {
      const lab = await openSpotLab()
      await lab.ask()
      await lab.pass(1000)
      await lab.notice(cause)
      await lab.pass(NOTICE_MS - 1)
      expect([await lab.states(), (await lab.instances())[0]?.state]).toEqual([['active marked-for-termination'], 'running'])
      await lab.pass(1)
      expect([await lab.states(), (await lab.instances())[0]?.state]).toEqual([[`closed ${status}`], 'terminated'])
    })

  it('that is persistent is filled again, by whomever its instance was ended', async () => {
    const lab = await openSpotLab()
    await lab.ask(persistent())
    await lab.pass(1000)
    const id = await only(lab)
    await lab.run((context) => terminateInstances(context, { InstanceIds: [id] }))
    await lab.pass(1000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['active fulfilled'], ['terminated', 'running']])
    await lab.cap(0)
    await lab.notice('by-price')
    await lab.pass(NOTICE_MS)
    expect(await lab.show()).toMatchObject([{ State: 'open', InstanceId: undefined }])
    await lab.cap(1_000_000)
    await lab.pass(120_000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)])
      .toEqual([['active fulfilled'], ['terminated', 'terminated', 'running']])
  })

  it('is disabled while its user has stopped its instance', async () => {
    const lab = await openSpotLab()
    await lab.ask(persistent('stop'))
    await lab.pass(1000)
    const id = await only(lab)
    await lab.run((context) => stopInstances(context, { InstanceIds: [id] }))
    await lab.pass(200_000)
    expect(await lab.states()).toEqual(['disabled instance-stopped-by-user'])
    await lab.run((context) => startInstances(context, { InstanceIds: [id] }))
    await lab.pass(1000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['active fulfilled'], ['running']])
  })

  it('has its stopped instance back, the same one, when there is room again', async () => {
    const lab = await openSpotLab()
    await lab.ask(persistent('stop'))
    await lab.pass(1000)
    await lab.cap(0)
    await lab.notice('no-capacity')
    await lab.pass(NOTICE_MS)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['disabled instance-stopped-no-capacity'], ['stopped']])
    await lab.cap(1_000_000)
    await lab.pass(120_000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['active fulfilled'], ['running']])
    const [instance] = await lab.instances()
    expect(instance && instanceDoc(instance).spot?.interruption).toBeNull()
  })

  it('that is cancelled while its instance is stopped by an interruption ends it', async () => {
    const lab = await openSpotLab()
    const ids = await lab.ask(persistent('stop'))
    await lab.pass(1000)
    await lab.cap(0)
    await lab.notice('by-price')
    await lab.pass(NOTICE_MS)
    await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: ids }))
    await lab.pass(1000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['cancelled instance-terminated-by-service'], ['terminated']])
  })

  it('that is cancelled after a notice sees its instance ended all the same', async () => {
    const lab = await openSpotLab()
    const ids = await lab.ask(persistent('stop'))
    await lab.pass(1000)
    await lab.cap(0)
    await lab.notice('by-price')
    await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: ids }))
    await lab.pass(NOTICE_MS)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['cancelled instance-terminated-by-price'], ['terminated']])
  })
})

describe('An instance that stops although nobody interrupts it', () => {
  const stopOf = (lab: SpotLab) => requestStops(lab.store, lab.now())

  it('whose machine fails in its notice counts as interrupted: it comes back, or is ended where nobody wants it any more', async () => {
    for (const isCancelled of [false, true]) {
      const lab = await openSpotLab()
      const ids = await lab.ask(persistent('stop'))
      await lab.pass(1000)
      await lab.cap(0)
      await lab.notice('no-capacity')
      if (isCancelled) await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: ids }))
      await lab.fail()
      await lab.pass(1000)
      expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual(isCancelled
        ? [['cancelled instance-terminated-no-capacity'], ['terminated']] : [['disabled instance-stopped-no-capacity'], ['stopped']])
      if (!isCancelled) {
        await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: ids }))
        await lab.pass(1000)
        expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['cancelled instance-terminated-by-service'], ['terminated']])
      }
    }
  })

  it('whose machine fails without a notice is its user\'s to start', async () => {
    const lab = await openSpotLab()
    await lab.ask(persistent('stop'))
    await lab.pass(1000)
    await lab.fail()
    await lab.pass(600_000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['disabled instance-stopped-by-user'], ['stopped']])
    const id = await only(lab)
    await lab.run((context) => startInstances(context, { InstanceIds: [id] }))
    await lab.pass(1000)
    expect([await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([['active fulfilled'], ['running']])
  })

  it('by hearth down keeps its request, is not followed by another one, and is its user\'s to start', async () => {
    const lab = await openSpotLab()
    const [once = '', stays = '', left = ''] = [...await lab.ask(), ...await lab.ask(persistent('stop')), ...await lab.ask(persistent('stop'))]
    await lab.pass(1000)
    await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: [left] }))
    await lab.cap(100_000)
    const waiting = await lab.ask({ ...persistent(), InstanceCount: 20 })
    await lab.pass(1000)
    const before = await lab.instances()
    await lab.notice('no-capacity')
    await stopOf(lab)
    await lab.pass(10_000)
    expect((await lab.instances()).map((each) => each.state)).toEqual(before.map(() => 'stopped'))
    expect(await lab.states()).not.toContain('active fulfilled')
    const mine = (await lab.instances()).filter((each) => [once, stays, left].includes(each.spot_request_id ?? '')).map((each) => each.instance_id)
    expect(mine).toHaveLength(3)
    // A week later, when the one-time request is over.
    await lab.run((context) => cancelSpotInstanceRequests(context, { SpotInstanceRequestIds: waiting }))
    await lab.cap(1_000_000)
    await lab.pass(8 * DAY_MS)
    await lab.run((context) => startInstances(context, { InstanceIds: mine }))
    await lab.pass(1000)
    expect((await lab.instances()).filter((each) => mine.includes(each.instance_id)).map((each) => each.state)).toEqual(['running', 'running', 'running'])
    for (const id of [once, left]) expect(await lab.show([id])).toMatchObject([{ State: 'cancelled', Status: { Code: 'request-canceled-and-instance-running' } }])
    expect(await lab.show([stays])).toMatchObject([{ State: 'active', Status: { Code: 'fulfilled' } }])
  })

  it('is started by its user only within its offer and what spot may have', async () => {
    const lab = await openSpotLab()
    await lab.ask({ ...persistent('stop'), SpotPrice: '0.009' })
    await lab.pass(1000)
    const InstanceIds = [await only(lab)]
    const start = () => lab.run((context) => startInstances(context, { InstanceIds })).then(() => 'started', (error: ApiError) => `${error.code}: ${error.message}`)
    await lab.run((context) => stopInstances(context, { InstanceIds }))
    await lab.pass(1000)
    const [{ zone } = { zone: '' }] = await lab.instances()
    await lab.pin(zone, 9001)
    expect(await start()).toBe('SpotMaxPriceTooLow: Your Spot request price of 0.009 is lower than the minimum required Spot request fulfillment price of 0.009001.')
    await lab.pin(zone, 9000)
    await lab.cap(0)
    expect(await start()).toContain('InsufficientInstanceCapacity: There is no Spot capacity available that matches your request.')
    expect((await lab.instances()).map((each) => each.state)).toEqual(['stopped'])
    await lab.cap(1_000_000)
    expect(await start()).toBe('started')
  })

  it('that is restored after its termination is nothing to the request that it had', async () => {
    const lab = await openSpotLab()
    await lab.ask(persistent('stop'))
    await lab.pass(1000)
    const id = await only(lab)
    await lab.run(({ db }) => db.updateTable('instances').set({ lifecycle: 'on-demand', spot_request_id: null, state: 'stopped', holds_capacity: 0 })
      .where('instance_id', '=', id).execute())
    await lab.wakeAll()
    await lab.pass(1000)
    const [request] = await lab.show()
    expect(request).toMatchObject({ State: 'active', Status: { Code: 'fulfilled' } })
    expect(request?.InstanceId).not.toBe(id)
  })
})

describe('A request for an interface that its last instance still has', () => {
  it('waits for it, told so once', async () => {
    const lab = await openSpotLab()
    const image = await lab.store.read(async (db) => (await db.selectFrom('images').select('image_id').executeTakeFirstOrThrow()).image_id)
    const NetworkInterfaceId = await lab.run(async (context) => {
      const [subnet] = await context.db.selectFrom('subnets').select('subnet_id').where('account_id', '=', context.account).execute()
      return (await createNetworkInterface(context, { SubnetId: subnet?.subnet_id })).NetworkInterface?.NetworkInterfaceId
    })
    await lab.ask({
      ...persistent(), LaunchSpecification: { ImageId: image, InstanceType: 't3.micro', NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }] },
    })
    await lab.pass(1000)
    const id = await only(lab)
    await lab.run((context) => terminateInstances(context, { InstanceIds: [id] }))
    await lab.pass(600_000)
    expect(await lab.states()).toEqual(['open pending-fulfillment'])
  })
})

describe('A launch group', () => {
  it('of which one cannot be launched any more goes on without that one', async () => {
    const lab = await openSpotLab()
    await lab.cap(0)
    const specification = (await lab.store.read((db) => db.selectFrom('images').select('image_id as ImageId').executeTakeFirstOrThrow()))
    await lab.run(({ db, account: account_id }) => db.insertInto('key_pairs').values({
      key_pair_id: 'key-1', account_id, name: 'lost', key_type: 'ed25519', fingerprint: '', public_key: 'ssh-ed25519 AAAA', created_ms: NOW_MS,
    }).execute())
    const ids: string[] = []
    for (const KeyName of [undefined, 'lost', undefined]) {
      ids.push(...await lab.ask({ LaunchGroup: 'crew', LaunchSpecification: { ...specification, InstanceType: 't3.micro', KeyName } }))
    }
    await lab.run((context) => deleteKeyPair(context, { KeyName: 'lost' }))
    await lab.cap(1_000_000)
    await lab.pass(120_000)
    for (const id of ids) {
      expect(await lab.show([id])).toMatchObject([id === ids[1]
        ? { State: 'failed', Fault: { Code: 'InvalidKeyPair.NotFound' } } : { State: 'active', Status: { Code: 'fulfilled' } }])
    }
  })

  it('of which one stops sooner than the other comes back when both have stopped, and no one is told to go again', async () => {
    const lab = await openSpotLab()
    await lab.ask({ ...persistent('stop'), LaunchGroup: 'crew', InstanceCount: 2 })
    await lab.pass(1000)
    await lab.notice('no-capacity')
    await lab.pass(1000)
    const [, slow] = await lab.instances()
    const told = slow && instanceDoc(slow).spot
    if (!slow || !told?.interruption) throw new Error('the other one was told nothing')
    const interruption = { ...told.interruption, actionMs: told.interruption.actionMs + NOTICE_MS }
    await lab.run(({ db }) => changeInstanceDoc(db, slow.instance_id, { spot: { ...told, interruption } }))
    await lab.pass(NOTICE_MS + 1000)
    expect((await lab.instances()).map((each) => each.state)).toEqual(['stopped', 'running'])
    await lab.pass(600_000)
    expect((await lab.instances()).map((each) => each.state)).toEqual(['running', 'running'])
    const { warnings } = await lab.store.read((db) => db.selectFrom('cloud_events').select((eb) => eb.fn.countAll().as('warnings'))
      .where('detail_type', '=', 'EC2 Spot Instance Interruption Warning').executeTakeFirstOrThrow())
    expect(Number(warnings)).toBe(2)
  })

  it('of which one comes back alone leaves that be', async () => {
    const lab = await openSpotLab()
    const image = await lab.store.read(async (db) => (await db.selectFrom('images').select('image_id').executeTakeFirstOrThrow()).image_id)
    await lab.ask({ ...persistent('stop'), LaunchGroup: 'crew', InstanceCount: 2, LaunchSpecification: {
      ImageId: image, InstanceType: 't3.micro', Placement: { AvailabilityZone: 'us-east-1a' },
    } })
    await lab.pass(1000)
    await lab.cap(0)
    await lab.notice('no-capacity')
    await lab.pass(NOTICE_MS)
    expect((await lab.instances()).map((each) => each.state)).toEqual(['stopped', 'stopped'])
    await lab.cap(40_000)
    await lab.pass(600_000)
    // As an agent looks at all of them when it begins.
    await lab.wakeAll()
    await lab.pass(1000)
    expect((await lab.instances()).map((each) => each.state).toSorted()).toEqual(['running', 'stopped'])
    expect(await lab.states()).not.toContain('active marked-for-stop')
    await lab.cap(1_000_000)
    await lab.pass(600_000)
    expect(await lab.states()).toEqual(['active fulfilled', 'active fulfilled'])
  })

  it('is launched together and ends together', async () => {
    const lab = await openSpotLab()
    await lab.cap(70_000)
    await lab.ask({ LaunchGroup: 'crew', InstanceCount: 3, LaunchSpecification: {
      ImageId: await lab.store.read(async (db) => (await db.selectFrom('images').select('image_id').executeTakeFirstOrThrow()).image_id),
      InstanceType: 't3.micro', Placement: { AvailabilityZone: 'us-east-1a' },
    } })
    await lab.pass(120_000)
    expect(await lab.instances()).toEqual([])
    await lab.cap(1_000_000)
    await lab.pass(120_000)
    expect(await lab.states()).toEqual(['active fulfilled', 'active fulfilled', 'active fulfilled'])
    await lab.notice('no-capacity')
    await lab.pass(NOTICE_MS)
    expect((await lab.instances()).map((each) => each.state)).toEqual(['terminated', 'terminated', 'terminated'])
    expect((await lab.states()).toSorted()).toEqual([
      'closed instance-terminated-launch-group-constraint', 'closed instance-terminated-launch-group-constraint', 'closed instance-terminated-no-capacity',
    ])
    // A group of that name begins anew, and nobody remembers the old one.
    await lab.ask({ LaunchGroup: 'crew', InstanceCount: 2 })
    await lab.pass(5 * 3_600_000)
    expect(await lab.states()).toEqual(['active fulfilled', 'active fulfilled'])
  })
})

describe('An agent that dies anywhere', () => {
  const life = async (lab: SpotLab) => {
    await lab.ask(persistent('stop'))
    await lab.pass(1000)
    await lab.cap(0)
    await lab.notice('no-capacity')
    await lab.pass(NOTICE_MS)
    await lab.cap(1_000_000)
    await lab.pass(120_000)
  }

  it('leaves a request and its one instance as they would be', async () => {
    const whole = await openSpotLab()
    await life(whole)
    const points = whole.hits()
    expect(points).toBeGreaterThan(20)
    for (let dieAt = 1; dieAt <= points; dieAt++) {
      const lab = await openSpotLab({ dieAt })
      await life(lab)
      expect([dieAt, await lab.states(), (await lab.instances()).map((each) => each.state)]).toEqual([dieAt, ['active fulfilled'], ['running']])
      const { vcpus } = await lab.store.read((db) => db.selectFrom('hosts').select((eb) => eb.fn.sum<number>('vcpus_used').as('vcpus')).executeTakeFirstOrThrow())
      expect(vcpus).toBe(2)
    }
  })
})
