import { beforeEach, describe, expect, test } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { HOST_ID, hostOf, NOW_MS, REGION } from '../../test/support/rows.ts'
import { associateAddress } from '../ec2/associate-address.ts'
import { attachVolume, detachVolume } from '../ec2/attach-volume.ts'
import { attachNetworkInterface } from '../ec2/attach-network-interface.ts'
import { createSecurityGroup } from '../ec2/security-groups.ts'
import { deleteSecurityGroup } from '../ec2/delete-security-group.ts'
import { assignPrivateIpAddresses } from '../ec2/private-ip-addresses.ts'
import { restoreVolumeFromRecycleBin } from '../ec2/restore-from-recycle-bin.ts'
import { startInstances } from '../ec2/instance-lifecycle.ts'
import { createTags, deleteTags } from '../ec2/tags.ts'
import { purgeInstance, releaseAttachments } from '../reconcile/release-instance.ts'
import type { Db } from '../store/store.ts'
import { DEFAULT_ACCOUNT } from './account.ts'
import { deleteEndedBackups, endedBackups } from './instance-backup.ts'
import { changeInstanceDoc, moveInstance } from './instance.ts'
import { isHibernated } from './memory.ts'
import { DAY_MS } from './recycle-rules.ts'
import { restoreInstance, type RestoredInstance } from './restore-instance.ts'
import { setRetention } from './retention.ts'

let lab: InterfaceLab
beforeEach(async () => {
  lab = await openInterfaceLab()
  await lab.run((context) => setRetention(context, DEFAULT_ACCOUNT, { tag: { key: 'keep', value: 'yes' }, days: 3 }))
})

const TAGS = [{ Key: 'keep', Value: 'yes' }, { Key: 'Name', Value: 'web' }]

/** An instance that ran, with a root and a data volume; whatever is launched has `keep=yes`. */
async function running(change: Parameters<InterfaceLab['running']>[0] = {}) {
  const instance = await lab.running({
    TagSpecifications: [{ ResourceType: 'instance', Tags: TAGS }, { ResourceType: 'volume', Tags: [{ Key: 'of', Value: 'web' }] }],
    BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2 } }], ...change,
  })
  const id = instance.InstanceId ?? ''
  await lab.run(async ({ db }) => {
    await changeInstanceDoc(db, id, { hasRun: true, stateTransitionReason: 'User initiated' })
    await db.updateTable('volumes').set((eb) => ({ ready: 1, state: 'in-use', attach_state: 'attached', synced_revision: eb.ref('revision') }))
      .where('instance_id', '=', id).execute()
    await db.updateTable('instances').set({ holds_capacity: 0 }).where('instance_id', '=', id).execute()
  })
  const volumes = await volumesOf(id)
  const [root, data] = ['/dev/vda', '/dev/sdf'].map((device) => volumes.find((each) => each.device === device)?.volume_id ?? '')
  return { instance, id, root: root ?? '', data: data ?? '', interfaceId: instance.NetworkInterfaces?.[0]?.NetworkInterfaceId ?? '' }
}

const rowOf = (db: Db, id: string) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow()
const volumesOf = (id: string) => lab.run(({ db }) =>
  db.selectFrom('volumes').selectAll().where('instance_id', '=', id).orderBy('device').execute())
const volume = (id: string) => lab.run(({ db }) => db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirst())
const backups = () => lab.run(({ db }) => db.selectFrom('instance_backups').selectAll().execute())
const purge = (id: string) => lab.run(({ db }) => purgeInstance(db, id))
const tagsOf = async (id: string) => Object.fromEntries((await lab.run(({ db }) =>
  db.selectFrom('tags').selectAll().where('resource_id', '=', id).execute())).map((tag) => [tag.key, tag.value]))
const restore = (id: string, subnetId?: string): Promise<RestoredInstance> =>
  lab.run((context) => restoreInstance({ ...context, nowMs: NOW_MS + 5000 }, id, { subnetId }))
const refusal = (id: string, subnetId?: string) => restore(id, subnetId).then(() => 'restored', (error: Error) => error.message)

describe('what is kept of a terminated instance', () => {
  test('is its disks, in the recycle bin, for as long as the rule for its tag says', async () => {
    const { instance, id, root, data } = await running()
    await lab.terminate(instance)
    expect(await backups()).toMatchObject([{ instance_id: id, terminated_ms: NOW_MS, exit_ms: NOW_MS + 3 * DAY_MS }])
    for (const each of [root, data]) {
      expect(await volume(each)).toMatchObject({ instance_id: null, binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 3 * DAY_MS })
    }
  })

  test('is kept for a week when somebody had protected it, and no rule says otherwise', async () => {
    const { instance, id } = await running()
    await lab.call(deleteTags, { Resources: [id], Tags: [{ Key: 'keep' }] })
    await lab.run(({ db }) => changeInstanceDoc(db, id, { wasProtected: true }))
    await lab.terminate(instance)
    expect(await backups()).toMatchObject([{ exit_ms: NOW_MS + 7 * DAY_MS }])
  })

  test('is nothing without a rule, or when it never ran', async () => {
    const [plain, fresh] = [await running(), await running()]
    await lab.call(deleteTags, { Resources: [plain.id], Tags: [{ Key: 'keep' }] })
    await lab.run(({ db }) => changeInstanceDoc(db, fresh.id, { hasRun: false }))
    for (const { instance, id, root } of [plain, fresh]) {
      await lab.terminate(instance)
      expect(await volume(root)).toMatchObject({ state: 'deleting', binned_ms: null })
      expect(await refusal(id)).toMatch(/^nothing is kept of i-/)
    }
    expect(await backups()).toEqual([])
  })
})

describe('an instance that is restored', () => {
  test.each(['within the hour', 'after it was forgotten'])('%s is what it was, stopped', async (when) => {
    const { instance, id, root, data, interfaceId } = await running()
    const [before, network, disks] = [await lab.row(id), await lab.interfaceRow(interfaceId), await volumesOf(id)]
    await lab.terminate(instance)
    await lab.call(createTags, { Resources: [id], Tags: [{ Key: 'late', Value: 'yes' }] })
    if (when !== 'within the hour') {
      expect(await purge(id)).toBe(true)
      expect(await tagsOf(id)).toEqual({})
    }
    expect(await restore(id)).toEqual({
      instanceId: id, state: 'stopped', isRestored: true, privateIp: network.private_ip, notices: [],
    })

    const { parsed, doc: _doc, ...row } = await lab.row(id)
    const { parsed: parsedBefore, doc: _before, ...rowBefore } = before
    expect(row).toEqual({ ...rowBefore, state: 'stopped', state_ms: NOW_MS + 5000 })
    expect(parsed).toMatchObject({ ...parsedBefore, stateReason: null, stateTransitionReason: '' })
    expect(await tagsOf(id)).toEqual({ keep: 'yes', Name: 'web', late: 'yes' })
    expect((await volumesOf(id)).map(({ revision: _r, synced_revision: _s, ...each }) => each))
      .toEqual(disks.map(({ revision: _r, synced_revision: _s, ...each }) => each))
    expect(await tagsOf(root)).toEqual({ of: 'web' })
    const { revision: _r, synced_revision: _s, ...restored } = await lab.interfaceRow(interfaceId)
    expect(restored).toMatchObject({
      mac: network.mac, private_ip: network.private_ip, subnet_id: network.subnet_id, device_index: 0, doc: network.doc, public_ip: null,
      wanted: 0, status: 'in-use', delete_on_termination: 1, host_id: HOST_ID,
    })
    expect(await backups()).toEqual([])
    expect(await lab.work()).toContain(`instance ${id}`)

    expect(await lab.describe(instance)).toMatchObject({
      State: { Name: 'stopped' }, PrivateIpAddress: network.private_ip, SecurityGroups: [{ GroupId: lab.groupId }],
      BlockDeviceMappings: [{ Ebs: { VolumeId: root } }, { Ebs: { VolumeId: data } }],
    })
    await lab.call(startInstances, { InstanceIds: [id] })
    expect((await lab.describe(instance)).PublicIpAddress).toMatch(/^198\.18\./)
  })

  test.each(['within the hour', 'after it was forgotten'])('%s boots: what was in its memory is given up', async (when) => {
    const { instance, id } = await running()
    const memory = { memoryId: 'mem-1', state: 'saved', generation: 1, volumeIds: [], kmsKeyId: 'k', wrappedKey: 'w' } as const
    await lab.run(({ db }) => changeInstanceDoc(db, id, { memory, generation: 1, hibernation: true }))
    await lab.terminate(instance)
    if (when !== 'within the hour') await purge(id)
    await restore(id)
    const row = await lab.row(id)
    expect(row.parsed).toMatchObject({ memory: null, generation: 1, hibernation: true })
    expect(isHibernated(row)).toBe(false)
  })

  test('twice is restored once', async () => {
    const { instance, id } = await running()
    await lab.terminate(instance)
    await restore(id)
    await lab.call(startInstances, { InstanceIds: [id] })
    expect(await restore(id)).toMatchObject({ isRestored: false, state: 'pending', notices: [] })
  })

  test('can be terminated and restored again, and is not forgotten meanwhile', async () => {
    const { instance, id } = await running()
    for (let round = 0; round < 2; round++) {
      await lab.terminate(instance)
      await restore(id)
      expect(await purge(id)).toBe(false)
    }
    expect((await lab.row(id)).state).toBe('stopped')
  })

  test('has its launch token again, unless another launch has that by now', async () => {
    const { instance, id } = await running({ ClientToken: 'once' })
    await lab.terminate(instance)
    await purge(id)
    expect(await lab.run(({ db }) => db.selectFrom('client_tokens').selectAll().execute())).toEqual([])
    await restore(id)
    expect(await lab.run(({ db }) => db.selectFrom('client_tokens').select(['token', 'resource_id']).execute()))
      .toEqual([{ token: 'once', resource_id: (await lab.row(id)).reservation_id }])
  })

  /** Terminated, and no port of it is gone yet. */
  const terminateAlone = (id: string) => lab.run(async (context) => {
    const moved = await moveInstance(context.db, await rowOf(context.db, id), 'shutting-down', NOW_MS)
    const terminated = moved && await moveInstance(context.db, moved, 'terminated', NOW_MS)
    if (terminated) await releaseAttachments(context, terminated)
  })

  test('takes its interface back while its port is still being removed', async () => {
    const { id, interfaceId } = await running()
    await terminateAlone(id)
    expect(await lab.interfaceRow(interfaceId)).toMatchObject({ status: 'removing', instance_id: null })
    expect((await restore(id)).notices).toEqual([])
    const after = await lab.interfaceRow(interfaceId)
    expect(after).toMatchObject({ status: 'in-use', instance_id: id, wanted: 0 })
    expect(after.revision).toBeGreaterThan(after.synced_revision)
  })

  test('has its own slot for its interface, which was a further one of another instance meanwhile', async () => {
    const { NetworkInterfaceId = '' } = await lab.create()
    const { instance, id } = await running({ NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }] })
    await lab.terminate(instance)
    const other = await running()
    await lab.call(attachNetworkInterface, { NetworkInterfaceId, InstanceId: other.id, DeviceIndex: 1 })
    await lab.syncPorts()
    await terminateAlone(other.id)
    await restore(id)
    expect((await lab.interfaceRow(NetworkInterfaceId)).slot).toBe((await lab.row(id)).slot)
    const owners = (await lab.run(({ db }) => db.selectFrom('slots').select('owner_id').execute())).map((each) => each.owner_id)
    expect([owners.includes(id), owners.includes(NetworkInterfaceId)]).toEqual([true, false])
  })
})

describe('what is not free any more', () => {
  test('its private address is another one', async () => {
    const { instance, id, interfaceId } = await running()
    const { private_ip: address } = await lab.interfaceRow(interfaceId)
    await lab.terminate(instance)
    await lab.create({ PrivateIpAddress: address })
    const { notices, privateIp } = await restore(id)
    expect(privateIp).not.toBe(address)
    expect(notices).toEqual([`its private address ${address} is in use elsewhere; it has a new one, ${privateIp}`])
  })

  test('an Elastic IP is not given back', async () => {
    const { instance, id, interfaceId } = await running()
    const { AllocationId, PublicIp } = await lab.allocate()
    await lab.call(associateAddress, { AllocationId, NetworkInterfaceId: interfaceId })
    await lab.terminate(instance)
    expect((await restore(id)).notices).toEqual([`the Elastic IP ${PublicIp} is not given back; associate it again where it is wanted`])
    expect((await lab.interfaceRow(interfaceId)).public_ip).toBeNull()
  })

  test('a security group that is gone is left out, and the default one stands in for the last', async () => {
    const { GroupId = '' } = await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web' })
    const { instance, id } = await running({ SecurityGroupIds: [GroupId] })
    await lab.terminate(instance)
    await lab.call(deleteSecurityGroup, { GroupId })
    expect((await restore(id)).notices[0]).toMatch(`its security group ${GroupId} is not in vpc-`)
    expect((await lab.describe(instance)).SecurityGroups).toMatchObject([{ GroupId: lab.groupId }])
  })

  test('its subnet: another one is to be named, of its zone', async () => {
    const { instance, id } = await running()
    const { vpcId, subnetId, groupId } = await lab.addVpc()
    await lab.terminate(instance)
    await lab.run(({ db }) => db.updateTable('instance_backups')
      .set((eb) => ({ doc: eb.fn<string>('replace', ['doc', eb.val(lab.subnet.subnet_id), eb.val('subnet-gone')]) })).execute())
    expect(await refusal(id)).toMatch(/the subnet subnet-gone is not there; name another one with --subnet: .*subnet-00000000000000010/)
    const { zone } = lab.subnet
    const other = await lab.run(({ db }) => db.selectFrom('subnets').select('subnet_id').where('zone', '<>', zone).executeTakeFirstOrThrow())
    expect(await refusal(id, other.subnet_id)).toMatch(/its volumes are in us-east-1a/)
    const { notices, privateIp } = await restore(id, subnetId)
    expect(privateIp).toMatch(/^10\.0\.0\./)
    expect(notices).toEqual([
      expect.stringMatching(/was in another subnet; it has a new one, 10\.0\.0\./),
      `its security group ${lab.groupId} is not in ${vpcId} any more; it is in ${groupId}`,
    ])
    expect(await lab.describe(instance)).toMatchObject({ VpcId: vpcId, SubnetId: subnetId })
  })

  test('its root volume: it cannot be restored, and is kept no longer once that is gone', async () => {
    const [one, other] = [await running(), await running()]
    await lab.terminate(one.instance)
    await lab.call(restoreVolumeFromRecycleBin, { VolumeId: one.root })
    await lab.call(attachVolume, { VolumeId: one.root, InstanceId: other.id, Device: '/dev/sdh' })
    expect(await refusal(one.id)).toBe(
      `${one.id} cannot be restored: its root volume ${one.root} is attached to ${other.id}; detach it there first`)
    expect(await lab.run(({ db }) => endedBackups(db, NOW_MS))).toMatchObject({ ended: [], nextExitMs: NOW_MS + 3 * DAY_MS })
    await lab.run(({ db }) => db.updateTable('volumes').set({ instance_id: null, state: 'deleting' }).where('volume_id', '=', one.root).execute())
    expect(await refusal(one.id)).toBe(`${one.id} cannot be restored: its root volume ${one.root} is gone`)
    await lab.run(({ db }) => deleteEndedBackups(db, NOW_MS))
    expect(await backups()).toEqual([])
  })

  test('a data volume is left out, and one that was restored by itself is taken', async () => {
    const { instance, id, root, data } = await running()
    await lab.terminate(instance)
    await lab.call(restoreVolumeFromRecycleBin, { VolumeId: root })
    await lab.run(({ db }) => db.updateTable('volumes').set({ state: 'deleting' }).where('volume_id', '=', data).execute())
    expect((await restore(id)).notices).toEqual([`its volume ${data} at /dev/sdf is gone, and was left out`])
    expect(await volumesOf(id)).toMatchObject([{ volume_id: root, device: '/dev/vda', delete_on_termination: 1 }])
  })

  test('a further interface comes back, unless another instance has it', async () => {
    const { instance, id } = await running()
    const { NetworkInterfaceId = '' } = await lab.create()
    await lab.call(attachNetworkInterface, { NetworkInterfaceId, InstanceId: id, DeviceIndex: 1 })
    await lab.syncPorts()
    await lab.terminate(instance)
    expect(await lab.interfaceRow(NetworkInterfaceId)).toMatchObject({ status: 'available', instance_id: null })
    expect((await restore(id)).notices).toEqual([])
    expect(await lab.interfaceRow(NetworkInterfaceId))
      .toMatchObject({ status: 'in-use', instance_id: id, device_index: 1, delete_on_termination: 0 })

    await lab.terminate(instance)
    const other = await running()
    await lab.call(attachNetworkInterface, { NetworkInterfaceId, InstanceId: other.id, DeviceIndex: 1 })
    expect((await restore(id)).notices).toEqual([`its network interface ${NetworkInterfaceId} is in use elsewhere, and was left out`])
  })

  test('a secondary private address is left out where another interface has it', async () => {
    const { instance, id, interfaceId } = await running({ InstanceType: 't3.small' })
    await lab.call(assignPrivateIpAddresses, { NetworkInterfaceId: interfaceId, PrivateIpAddresses: ['172.31.0.77', '172.31.0.78'] })
    await lab.terminate(instance)
    await lab.create({ PrivateIpAddress: '172.31.0.77' })
    expect((await restore(id)).notices)
      .toEqual([`the secondary private address 172.31.0.77 of ${interfaceId} is not free any more, and was left out`])
    expect((await lab.describeInterface(interfaceId)).PrivateIpAddresses?.map((each) => each.PrivateIpAddress)).toContain('172.31.0.78')
  })
})

test('a volume that was given away before does not come back', async () => {
  const { instance, id, root, data } = await running()
  await lab.stop(instance)
  await lab.call(detachVolume, { VolumeId: data })
  await lab.terminate(instance)
  expect(await volume(data)).toMatchObject({ state: 'available', binned_ms: null })
  await restore(id)
  expect((await volumesOf(id)).map((each) => each.volume_id)).toEqual([root])
})

describe('an instance that is restored after its host has gone', () => {
  const ZONE = `${REGION}a`
  const insertHost = (hostId: string, nodeId: string) => lab.run(({ db }) =>
    db.insertInto('hosts').values({
      host_id: hostId, node_id: nodeId, zone: ZONE, zone_revision: 0, epoch: 1, region: REGION, vcpus: 8, memory_mib: 8192,
      vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
    }).execute())

  /** One of a host of zone a that is there no more, forgotten before that was. */
  const orphan = async () => {
    await insertHost('host-gone', HOST_ID)
    const { instance, id } = await running()
    await lab.run(({ db }) => db.updateTable('instances').set({ host_id: 'host-gone', zone: ZONE }).where('instance_id', '=', id).execute())
    await lab.terminate(instance)
    await purge(id)
    await lab.run(({ db }) => db.deleteFrom('work').where('host_id', '=', 'host-gone').execute())
    await lab.run(({ db }) => db.deleteFrom('hosts').where('host_id', '=', 'host-gone').execute())
    return id
  }

  test('is on another one of its zone, where its disks are', async () => {
    const id = await orphan()
    await insertHost('host-0-of-another-node', 'host-0')
    await restore(id)
    expect(await lab.row(id)).toMatchObject({ host_id: hostOf(ZONE), node_id: HOST_ID, state: 'stopped' })
    const due = await lab.run(({ db }) => db.selectFrom('work').select('host_id').where('kind', '=', 'instance').where('id', '=', id).execute())
    expect(due).toEqual([{ host_id: hostOf(ZONE) }])
  })

  test('is not restored where its zone has none any more, and is kept', async () => {
    const id = await orphan()
    await lab.run(({ db }) => db.updateTable('hosts').set({ zone: `${REGION}b` }).where('host_id', '=', hostOf(ZONE)).execute())
    expect(await refusal(id)).toMatch(/no host of us-east-1a is left where its volumes are/)
    expect(await backups()).toHaveLength(1)
  })
})
