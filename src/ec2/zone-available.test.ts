import { generateKeyPairSync } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { defaultNetwork, fixedClock, hostOf, insertImage, insertInstance, insertInterface, insertVolume, NOW_MS } from '../../test/support/rows.ts'
import { openSshLine, parsePublicKey } from '../core/ssh-public-key.ts'
import { sendSSHPublicKey } from '../ec2-instance-connect/send-ssh-public-key.ts'
import { changeInstanceDoc, type InstanceDoc } from '../model/instance.ts'
import { moveZone, type ZoneState } from '../model/zone.ts'
import { attachNetworkInterface } from './attach-network-interface.ts'
import { attachVolume, detachVolume } from './attach-volume.ts'
import { cancelCapacityReservation } from './capacity-reservations.ts'
import { createCapacityReservation } from './capacity-reservations-create.ts'
import { modifyCapacityReservation } from './capacity-reservations-modify.ts'
import { createCapacityReservationBySplitting } from './capacity-reservations-split.ts'
import { awaitConsoleOutput, getConsoleOutput } from './console-output.ts'
import { getConsoleScreenshot } from './console-screenshot.ts'
import type { Context } from './context.ts'
import { createImage } from './create-image.ts'
import { createNatGateway } from './create-nat-gateway.ts'
import { createNetworkInterface } from './create-network-interface.ts'
import { createSnapshot, createSnapshots } from './create-snapshot.ts'
import { createSubnet } from './create-subnet.ts'
import { createVolume } from './create-volume.ts'
import { describeInstances } from './describe-instances.ts'
import { sendDiagnosticInterrupt } from './diagnostic-interrupt.ts'
import { allocateHosts } from './dedicated-hosts-allocate.ts'
import { rebootInstances, startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'
import { describeInstanceStatus } from './instance-status.ts'
import { modifyVolume } from './modify-volume.ts'
import { runInstances } from './run-instances.ts'
import { describeVolumeStatus } from './volume-status.ts'
import { describeAvailabilityZones } from './zones.ts'

const [HERE, ELSEWHERE] = ['us-east-1a', 'us-east-1b'] as const

let cloud: MemoryAccount
/** A running and a stopped instance of the zone, with a root volume each, a data volume of the first, one of nobody, and an image. */
let running: string
let stopped: string
let root: string
let data: string
let free: string
let image: string

beforeEach(async () => {
  cloud = await openMemoryAccount()
  await cloud.call(async (context: Context) => {
    const add = async (state: 'running' | 'stopped') => {
      const instance = await insertInstance(context, { state, holds_capacity: state === 'running' ? 1 : 0 }, { contactMs: NOW_MS })
      await insertInterface(context, instance)
      return { instance, volume: await insertVolume(context, instance) }
    }
    const up = await add('running')
    const down = await add('stopped')
    ;[running, stopped, root] = [up.instance.instance_id, down.instance.instance_id, up.volume.volume_id]
    data = (await insertVolume(context, up.instance, { device: '/dev/sdf' })).volume_id
    free = (await insertVolume(context, undefined)).volume_id
    image = (await insertImage(context)).image_id
  }, {})
})

const move = (to: ZoneState) => cloud.call(({ db, nowMs }: Context) => moveZone({ db, nowMs }, HERE, to), {})
const subnetOf = async (zone: string) => (await cloud.call((context: Context) => defaultNetwork(context, zone), {})).subnet.subnet_id
const stateOf = async (id: string) =>
  (await cloud.call(describeInstances, { InstanceIds: [id] })).Reservations?.[0]?.Instances?.[0]?.State?.Name

const UNAVAILABLE = 'Unavailable: The service is unavailable. Please try again shortly.'

describe.each<ZoneState>(['unavailable', 'impaired'])('In a zone that is %s', (to) => {
  it('nothing is launched or started, and the capacity of others is offered', async () => {
    await move(to)
    const launch = { ImageId: image, InstanceType: 't3.micro' as const, MinCount: 1, MaxCount: 1 }
    expect(await cloud.failure(runInstances, { ...launch, Placement: { AvailabilityZone: HERE } })).toMatch(
      /^InsufficientInstanceCapacity: We currently do not have sufficient t3.micro capacity in the Availability Zone you requested \(us-east-1a\)/)
    // Whoever cannot choose a zone is not told to.
    const onlyHere = /^InsufficientInstanceCapacity: .* Our system will be working on provisioning additional capacity\. \[Hearth: us-east-1a has failed; "hearth zone heal us-east-1a" brings it back\.\]$/
    expect(await cloud.failure(startInstances, { InstanceIds: [stopped] })).toMatch(onlyHere)
    expect(await cloud.failure(runInstances, { ...launch, SubnetId: await subnetOf(HERE) })).toMatch(onlyHere)
    expect(await cloud.failure(runInstances, { ...launch, Placement: { AvailabilityZone: HERE } })).toMatch(/by not specifying .* \[Hearth: us-east-1a has failed; /)
    const { Instances } = await cloud.call(runInstances, { ...launch, Placement: { AvailabilityZone: ELSEWHERE } })
    expect(Instances?.[0]?.Placement?.AvailabilityZone).toBe(ELSEWHERE)
  })

  it('no room in it is promised anybody', async () => {
    const reservation = { InstanceType: 't3.micro', InstancePlatform: 'Linux/UNIX', AvailabilityZone: HERE, InstanceMatchCriteria: 'targeted' } as const
    const { CapacityReservation } = await cloud.call(createCapacityReservation, { ...reservation, InstanceCount: 2 })
    const { CapacityReservationId: id } = CapacityReservation ?? {}
    await move(to)
    const noRoom = /^InsufficientInstanceCapacity: Insufficient capacity\. \[Hearth: us-east-1a has failed; "hearth zone heal us-east-1a" brings it back\.\]$/
    expect(await cloud.failure(createCapacityReservation, { ...reservation, InstanceCount: 3 })).toMatch(noRoom)
    expect(await cloud.failure(modifyCapacityReservation, { CapacityReservationId: id, InstanceCount: 3 })).toMatch(noRoom)
    expect(await cloud.failure(allocateHosts, { InstanceType: 't3.micro', AvailabilityZone: HERE, Quantity: 1 })).toMatch(
      /^InsufficientHostCapacity: .*\(us-east-1a has failed; /)
    // What is promised already may be divided, or given back.
    await cloud.call(createCapacityReservationBySplitting, { SourceCapacityReservationId: id, InstanceCount: 1 })
    await cloud.call(cancelCapacityReservation, { CapacityReservationId: id })
    expect(await cloud.query((db) => db.selectFrom('dedicated_hosts').selectAll().execute())).toEqual([])
  })

  it('what its hosts would have to do at once is refused, and changes nothing', async () => {
    const { NetworkInterface } = await cloud.call(createNetworkInterface, { SubnetId: await subnetOf(HERE) })
    const before = await cloud.query((db) => db.selectFrom('work').selectAll().where('kind', '<>', 'zone').execute())
    await move(to)
    const failures = [
      cloud.failure(createVolume, { AvailabilityZone: HERE, Size: 1 }),
      cloud.failure(attachVolume, { VolumeId: free, InstanceId: running, Device: '/dev/sdg' }),
      cloud.failure(attachNetworkInterface, { NetworkInterfaceId: NetworkInterface?.NetworkInterfaceId, InstanceId: running, DeviceIndex: 1 }),
      cloud.failure(modifyVolume, { VolumeId: free, Size: 20 }),
      cloud.failure(createSnapshot, { VolumeId: root }),
      cloud.failure(createSnapshots, { InstanceSpecification: { InstanceId: running } }),
      cloud.failure(createImage, { InstanceId: running, Name: 'an image' }),
      cloud.failure(createNatGateway, { SubnetId: await subnetOf(HERE), ConnectivityType: 'private' }),
      cloud.failure(getConsoleScreenshot, { InstanceId: running }),
      cloud.failure(sendDiagnosticInterrupt, { InstanceId: running }),
    ]
    expect(await Promise.all(failures)).toEqual(failures.map(() => UNAVAILABLE))
    expect(await cloud.query((db) => db.selectFrom('work').selectAll().where('kind', '<>', 'zone').execute())).toEqual(before)
    await cloud.call(createVolume, { AvailabilityZone: ELSEWHERE, Size: 1 })
  })

  it('bad input is told of first', async () => {
    await move(to)
    expect(await cloud.failure(attachVolume, { VolumeId: root, InstanceId: running, Device: '/dev/sdf' })).toMatch(/^VolumeInUse/)
    expect(await cloud.failure(rebootInstances, { InstanceIds: [stopped] })).toMatch(/^IncorrectInstanceState/)
  })

  it('a key cannot be pushed', async () => {
    await move(to)
    const pem = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })
    const key = openSshLine(parsePublicKey(Buffer.from(pem)))
    expect(await cloud.failure(sendSSHPublicKey, { InstanceId: running, InstanceOSUser: 'admin', SSHPublicKey: key })).toBe(
      'EC2InstanceUnavailableException: The instance is currently unavailable. Wait a few minutes and try again.')
  })

  it('instances may be rebooted, stopped and terminated, volumes detached, and subnets made', async () => {
    await move(to)
    await cloud.call(rebootInstances, { InstanceIds: [running] })
    const { reboot_requested: asked } = await cloud.query((db) =>
      db.selectFrom('instances').select('reboot_requested').where('instance_id', '=', running).executeTakeFirstOrThrow())
    expect(asked).toBe(1)
    expect(await cloud.call(detachVolume, { VolumeId: data })).toMatchObject({ State: 'detaching' })
    await cloud.call(stopInstances, { InstanceIds: [running] })
    await cloud.call(terminateInstances, { InstanceIds: [stopped] })
    expect([await stateOf(running), await stateOf(stopped)]).toEqual(['stopping', 'shutting-down'])
    const { Subnet } = await cloud.call(createSubnet, { VpcId: cloud.defaultVpcId, CidrBlock: '172.31.128.0/24', AvailabilityZone: HERE })
    expect(Subnet?.State).toBe('available')
  })

  it('the console shows what was captured last', async () => {
    await cloud.query((db) => db.insertInto('console_outputs').values({ instance_id: running, captured_ms: NOW_MS - 1, output: 'b2xk' }).execute())
    await move(to)
    await cloud.call(getConsoleOutput, { InstanceId: running })
    // This clock fails whoever waits.
    expect(await awaitConsoleOutput({ store: cloud.store, clock: fixedClock }, NOW_MS, { InstanceId: running })).toMatchObject({ Output: 'b2xk' })
  })

  it('running instances fail their checks from that moment on, and no others', async () => {
    cloud.pass(5000)
    await move(to)
    cloud.pass(5000)
    const failed = { Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed', ImpairedSince: new Date(NOW_MS + 5000) }] }
    const { InstanceStatuses } = await cloud.call(describeInstanceStatus, { IncludeAllInstances: true })
    const statusOf = (id: string) => InstanceStatuses?.find((each) => each.InstanceId === id)
    expect(statusOf(running)).toMatchObject({ SystemStatus: failed, InstanceStatus: failed, AttachedEbsStatus: failed, InstanceState: { Name: 'running' } })
    expect(statusOf(stopped)).toMatchObject({ SystemStatus: { Status: 'not-applicable' } })
    await move('available')
    const after = await cloud.call(describeInstanceStatus, { Filters: [{ Name: 'system-status.status', Values: ['ok'] }] })
    expect(after.InstanceStatuses?.map((each) => each.InstanceId)).toEqual([running])
  })

  it('volumes that are in use stand still, and of others nothing is known', async () => {
    await move(to)
    const { VolumeStatuses } = await cloud.call(describeVolumeStatus, {})
    const statusOf = (id: string) => VolumeStatuses?.find((each) => each.VolumeId === id)
    expect(statusOf(root)).toMatchObject({
      VolumeStatus: { Status: 'impaired' }, AttachmentStatuses: [{ InstanceId: running, IoPerformance: 'stalled' }],
      Events: [{ EventType: 'io-performance:stalled', NotBefore: new Date(NOW_MS), Description: `The Availability Zone us-east-1a is ${to}.` }],
    })
    expect(statusOf(free)).toMatchObject({ VolumeStatus: { Status: 'insufficient-data' }, Events: [] })
  })

  it('instances and volumes are impaired after the heal until their host has that in force, and what was lost is started again', async () => {
    await cloud.query((db) => db.updateTable('hosts').set({ doc: JSON.stringify({ bootId: 'run-1' }) }).where('host_id', '=', hostOf(HERE)).execute())
    await cloud.query((db) => db.updateTable('instances').set({ host_id: hostOf(HERE) }).where('instance_id', '=', running).execute())
    const note = (doc: Partial<InstanceDoc>) => cloud.query((db) => changeInstanceDoc(db, running, doc))
    await note({ hostBootId: 'run-1' })
    await move('impaired')
    cloud.pass(5000)
    if (to === 'unavailable') await move(to)
    cloud.pass(5000)
    const { status: { revision } } = await move('available')
    const statuses = async () => {
      const [instance] = (await cloud.call(describeInstanceStatus, { InstanceIds: [running] })).InstanceStatuses ?? []
      const [volume] = (await cloud.call(describeVolumeStatus, { VolumeIds: [root] })).VolumeStatuses ?? []
      return [
        ...[instance?.SystemStatus, instance?.InstanceStatus, instance?.AttachedEbsStatus].map((each) => each?.Details?.[0]?.ImpairedSince),
        volume?.Events?.[0]?.NotBefore,
      ]
    }
    const failed = Array.from({ length: 4 }, () => new Date(NOW_MS))
    const well = Array.from({ length: 4 }, () => undefined)
    expect(await statuses()).toEqual(failed)
    // What the agent of the host writes when its machines are thawed, or have ended.
    if (to === 'unavailable') await note({ checks: { systemSinceMs: NOW_MS, instanceSinceMs: NOW_MS } })
    await cloud.query((db) => db.updateTable('hosts').set({ zone_revision: revision }).where('host_id', '=', hostOf(HERE)).execute())
    expect(await statuses()).toEqual(to === 'unavailable' ? failed : well)
    await note({ checks: null, hostBootId: to === 'unavailable' ? 'run-1/1' : 'run-1' })
    expect(await statuses()).toEqual(well)
  })

  it('DescribeAvailabilityZones says so', async () => {
    await move(to)
    const zones = async (Name: string, ...Values: string[]) =>
      (await cloud.call(describeAvailabilityZones, { Filters: [{ Name, Values }] })).AvailabilityZones
    expect(await zones('state', to)).toMatchObject([{ ZoneName: HERE, State: to, Messages: [{ Message: expect.stringContaining(HERE) as string }] }])
    expect(await zones('message', '*its network is cut*')).toMatchObject([{ ZoneName: HERE }])
    expect((await zones('state', 'available'))?.map((zone) => [zone.ZoneName, zone.Messages])).toEqual([['us-east-1b', []], ['us-east-1c', []]])
  })
})
