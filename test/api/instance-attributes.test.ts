import {
  CreateSecurityGroupCommand, DescribeInstanceAttributeCommand, DescribeInstanceCreditSpecificationsCommand,
  DescribeInstancesCommand, DescribeInstanceStatusCommand, ModifyInstanceAttributeCommand,
  ModifyInstanceCreditSpecificationCommand, ModifyInstanceMetadataOptionsCommand, MonitorInstancesCommand,
  ModifyInstanceCpuOptionsCommand, ModifyInstanceMaintenanceOptionsCommand, ResetInstanceAttributeCommand, RunInstancesCommand,
  StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand, UnmonitorInstancesCommand,
  waitUntilInstanceStatusOk, waitUntilSystemStatusOk, type InstanceAttributeName, type ModifyInstanceAttributeCommandInput,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answerMetadata } from '../../src/imds/server.ts'
import { loadInstanceMetadata } from '../../src/imds/view.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

async function launch(input: Partial<RunInstancesCommandInput> = {}) {
  const reservation = await cloud.ec2.send(
    new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...input }))
  return reservation.Instances?.[0]?.InstanceId ?? ''
}

async function describeOne(id: string) {
  const result = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  const instance = result.Reservations?.[0]?.Instances?.[0]
  if (!instance) throw new Error(`${id} is not there`)
  return instance
}

const read = (id: string, attribute: InstanceAttributeName) =>
  cloud.ec2.send(new DescribeInstanceAttributeCommand({ InstanceId: id, Attribute: attribute }))
const modify = (id: string, change: Omit<ModifyInstanceAttributeCommandInput, 'InstanceId'>) =>
  cloud.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, ...change }))
const stop = (id: string) => cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
const terminate = (...ids: string[]) => cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }))
const failure = (code: string) => expect.objectContaining({ name: code })

describe('an instance as Terraform handles it', () => {
  test('is launched with its options, read, resized and destroyed', async () => {
    const id = await launch({
      CreditSpecification: { CpuCredits: 'unlimited' }, DisableApiTermination: false, EbsOptimized: false,
      HibernationOptions: { Configured: false }, Monitoring: { Enabled: true }, Placement: { AvailabilityZone: '' },
      EnclaveOptions: { Enabled: false }, MaintenanceOptions: { AutoRecovery: 'disabled' }, UserData: 'IyEvYmluL3No',
      InstanceInitiatedShutdownBehavior: 'stop', PrivateDnsNameOptions: { HostnameType: 'ip-name' },
    })
    expect(await describeOne(id)).toMatchObject({
      EbsOptimized: false, Monitoring: { State: 'enabled' }, CpuOptions: { CoreCount: 1, ThreadsPerCore: 2 },
      MaintenanceOptions: { AutoRecovery: 'disabled' },
      CapacityReservationSpecification: { CapacityReservationPreference: 'open' },
    })
    expect((await read(id, 'instanceInitiatedShutdownBehavior')).InstanceInitiatedShutdownBehavior).toEqual({ Value: 'stop' })
    expect((await read(id, 'disableApiStop')).DisableApiStop).toEqual({ Value: false })
    expect((await read(id, 'disableApiTermination')).DisableApiTermination).toEqual({ Value: false })
    expect((await read(id, 'userData')).UserData).toEqual({ Value: 'IyEvYmluL3No' })
    const credits = await cloud.ec2.send(new DescribeInstanceCreditSpecificationsCommand({ InstanceIds: [id] }))
    expect(credits.InstanceCreditSpecifications).toEqual([{ InstanceId: id, CpuCredits: 'unlimited' }])

    await expect(modify(id, { InstanceType: { Value: 't3.large' } })).rejects.toEqual(failure('IncorrectInstanceState'))
    await stop(id)
    await modify(id, { InstanceType: { Value: 't3.large' } })
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect(await describeOne(id)).toMatchObject({ InstanceType: 't3.large', State: { Name: 'running' } })
    expect(cloud.host.world.machines.get(id)?.spec).toMatchObject({ vcpus: 2, memoryMib: 8192 })

    await modify(id, { DisableApiTermination: { Value: false } })
    await terminate(id)
    expect((await describeOne(id)).State?.Name).toBe('terminated')
  })

  test('has user data, groups and deletion of volumes changed in place', async () => {
    const id = await launch()
    const group = await cloud.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'in-place', Description: 'x' }))
    await modify(id, { Groups: [group.GroupId ?? ''] })
    expect((await describeOne(id)).SecurityGroups).toEqual([{ GroupId: group.GroupId, GroupName: 'in-place' }])
    expect((await read(id, 'groupSet')).Groups).toEqual([{ GroupId: group.GroupId, GroupName: 'in-place' }])
    const device = (await read(id, 'rootDeviceName')).RootDeviceName?.Value
    await modify(id, { BlockDeviceMappings: [{ DeviceName: device, Ebs: { DeleteOnTermination: false } }] })
    expect((await read(id, 'blockDeviceMapping')).BlockDeviceMappings?.[0]).toMatchObject({
      DeviceName: device, Ebs: { DeleteOnTermination: false },
    })
    await stop(id)
    await modify(id, { UserData: { Value: Buffer.from('#cloud-config') } })
    expect((await read(id, 'userData')).UserData?.Value).toBe(Buffer.from('#cloud-config').toString('base64'))
  })

  test('is resized only to what the host has room for', async () => {
    const small = await startTestCloud({ capacity: { cpus: 2, memoryMib: 4096, guestLimits: { vcpus: 2, memoryMib: 4096 } } })
    const image = await tinyImageId(small)
    const { Instances } = await small.ec2.send(
      new RunInstancesCommand({ ImageId: image, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 }))
    const ids = { InstanceIds: [Instances?.[0]?.InstanceId ?? ''] }
    await small.ec2.send(new StopInstancesCommand(ids))
    const resize = (type: string) =>
      small.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: ids.InstanceIds[0], InstanceType: { Value: type } }))
    await resize('t3.2xlarge')
    await expect(small.ec2.send(new StartInstancesCommand(ids))).rejects.toEqual(failure('InsufficientInstanceCapacity'))
    await resize('t3.small')
    await small.ec2.send(new StartInstancesCommand(ids))
    await small.close()
  })
})

describe('options of their own', () => {
  test('CPU and maintenance options are changed and shown, and the guest has its processors from the next start on', async () => {
    const id = await launch({ InstanceType: 'm5.4xlarge' })
    await stop(id)
    const options = { InstanceId: id, CoreCount: 4, ThreadsPerCore: 1 }
    expect(await cloud.ec2.send(new ModifyInstanceCpuOptionsCommand(options))).toMatchObject(options)
    const maintenance = { AutoRecovery: 'disabled', RebootMigration: 'disabled' } as const
    expect(await cloud.ec2.send(new ModifyInstanceMaintenanceOptionsCommand({ InstanceId: id, ...maintenance }))).toMatchObject(maintenance)
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect(await describeOne(id)).toMatchObject({
      CpuOptions: { CoreCount: 4, ThreadsPerCore: 1 }, MaintenanceOptions: maintenance, State: { Name: 'running' },
    })
    expect(cloud.host.world.machines.get(id)?.spec).toMatchObject({ vcpus: 4, memoryMib: 65_536 })
  })

  test('metadata options are in force with the next request of the guest', async () => {
    const id = await launch()
    const { PrivateIpAddress: address = '', VpcId: vpcId = '' } = await describeOne(id)
    const answer = async () => {
      const view = await cloud.store.read((db) => loadInstanceMetadata(db, 'us-east-1', vpcId, address))
      if (!view) throw new Error('the guest is not known')
      const request = { method: 'GET', path: '/latest/meta-data/instance-id', headers: {} }
      return answerMetadata(view, request, { nowMs: Date.now(), secret: Buffer.alloc(32), signatures: { signature: '', pkcs7: '' } }).status
    }
    expect(await answer()).toBe(200)
    await cloud.ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: id, HttpTokens: 'required' }))
    expect(await answer()).toBe(401)
    await cloud.ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: id, HttpEndpoint: 'disabled' }))
    expect(await answer()).toBe(403)
  })

  test('the source/destination check is reset to on', async () => {
    const id = await launch()
    await modify(id, { SourceDestCheck: { Value: false } })
    await cloud.ec2.send(new ResetInstanceAttributeCommand({ InstanceId: id, Attribute: 'sourceDestCheck' }))
    expect((await read(id, 'sourceDestCheck')).SourceDestCheck).toEqual({ Value: true })
  })
})

describe('protection', () => {
  test('keeps the API from stopping and terminating, but not the guest from shutting down', async () => {
    const id = await launch({ DisableApiTermination: true, DisableApiStop: true })
    await expect(stop(id)).rejects.toEqual(failure('OperationNotPermitted'))
    await expect(terminate(id)).rejects.toEqual(failure('OperationNotPermitted'))
    expect((await describeOne(id)).State?.Name).toBe('running')
    cloud.host.world.guestPowersOff(id)
    await expect.poll(async () => (await describeOne(id)).State?.Name).toBe('stopped')
    await modify(id, { DisableApiTermination: { Value: false } })
    await modify(id, { Attribute: 'disableApiStop', Value: 'false' })
    await terminate(id)
    expect((await describeOne(id)).State?.Name).toBe('terminated')
  })

  test('fails a call that names other zones too, which are terminated all the same', async () => {
    const guarded = await launch({ DisableApiTermination: true, Placement: { AvailabilityZone: 'us-east-1a' } })
    const near = await launch({ Placement: { AvailabilityZone: 'us-east-1a' } })
    const far = await launch({ Placement: { AvailabilityZone: 'us-east-1b' } })
    await expect(terminate(guarded, near, far)).rejects.toEqual(failure('OperationNotPermitted'))
    const states = await Promise.all([guarded, near, far].map(async (id) => (await describeOne(id)).State?.Name))
    expect(states).toEqual(['running', 'running', 'terminated'])
  })
})

describe('the status of an instance', () => {
  test('is ok once it runs, which waiters wait for, and not applicable when it does not', async () => {
    const id = await launch()
    const waiting = { client: cloud.ec2, minDelay: 1, maxWaitTime: 10 }
    await waitUntilInstanceStatusOk(waiting, { InstanceIds: [id] })
    await waitUntilSystemStatusOk(waiting, { InstanceIds: [id] })
    await stop(id)
    const status = async (IncludeAllInstances: boolean) =>
      (await cloud.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id], IncludeAllInstances }))).InstanceStatuses
    expect(await status(false)).toEqual([])
    expect(await status(true)).toMatchObject([{ InstanceStatus: { Status: 'not-applicable' }, Events: [] }])
  })
})

describe('monitoring, credits and metadata options', () => {
  test('are changed while it runs', async () => {
    const id = await launch({ InstanceType: 't2.micro' })
    const on = await cloud.ec2.send(new MonitorInstancesCommand({ InstanceIds: [id] }))
    expect(on.InstanceMonitorings).toEqual([{ InstanceId: id, Monitoring: { State: 'pending' } }])
    expect((await describeOne(id)).Monitoring).toEqual({ State: 'enabled' })
    const off = await cloud.ec2.send(new UnmonitorInstancesCommand({ InstanceIds: [id] }))
    expect(off.InstanceMonitorings?.[0]?.Monitoring).toEqual({ State: 'disabling' })

    const credits = await cloud.ec2.send(new ModifyInstanceCreditSpecificationCommand({
      InstanceCreditSpecifications: [{ InstanceId: id, CpuCredits: 'unlimited' }, { InstanceId: 'i-00000000000000000', CpuCredits: 'unlimited' }],
    }))
    expect(credits.SuccessfulInstanceCreditSpecifications).toEqual([{ InstanceId: id }])
    expect(credits.UnsuccessfulInstanceCreditSpecifications?.[0]?.Error?.Code).toBe('InvalidInstanceID.NotFound')

    const changed = await cloud.ec2.send(new ModifyInstanceMetadataOptionsCommand({
      InstanceId: id, HttpTokens: 'required', HttpPutResponseHopLimit: 4,
    }))
    expect(changed.InstanceMetadataOptions).toMatchObject({ State: 'pending', HttpTokens: 'required' })
    expect((await describeOne(id)).MetadataOptions).toMatchObject({ State: 'applied', HttpPutResponseHopLimit: 4 })
    const ports = [...cloud.host.network.vpcs.values()].flatMap((vpc) => [...vpc.ports.values()])
    expect(ports.map((port) => port.metadataHopLimit)).toContain(4)
  })
})
