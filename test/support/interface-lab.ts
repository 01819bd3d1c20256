import type { AllocateAddressResult, Instance, NetworkInterface, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { allocateAddress } from '../../src/ec2/addresses.ts'
import { createNetworkInterface } from '../../src/ec2/create-network-interface.ts'
import { describeInstances } from '../../src/ec2/describe-instances.ts'
import { describeNetworkInterfaces } from '../../src/ec2/network-interfaces.ts'
import { runInstances } from '../../src/ec2/run-instances.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { insertGroup } from '../../src/model/security-group.ts'
import { releaseAttachments } from '../../src/reconcile/release-instance.ts'
import type { InterfaceTable, SubnetTable } from '../../src/store/schema.ts'
import { openAttributeLab, type AttributeLab } from './attribute-lab.ts'
import { defaultNetwork, insertImage, NOW_MS, REGION } from './rows.ts'

/** The default account with a host and an image; what an agent would do is done by name. */
export interface InterfaceLab extends AttributeLab {
  imageId: string
  /** The default one of the first zone, whose interfaces get public addresses. */
  subnet: SubnetTable
  /** The default group of the default VPC. */
  groupId: string
  launch(change?: Partial<RunInstancesRequest>): Promise<Instance>
  /** A launched instance that has come up: its ports are in force. */
  running(change?: Partial<RunInstancesRequest>): Promise<Instance>
  stop(instance: Instance): Promise<void>
  terminate(instance: Instance): Promise<void>
  /** Every port that is wanted is in force, and gone where it is not. */
  syncPorts(): Promise<void>
  /** A new interface in the subnet, for nobody. */
  create(change?: Partial<Parameters<typeof createNetworkInterface>[1]>): Promise<NetworkInterface>
  allocate(): Promise<Required<Pick<AllocateAddressResult, 'AllocationId' | 'PublicIp'>>>
  describe(instance: Instance): Promise<Instance>
  describeInterface(id: string | undefined): Promise<NetworkInterface>
  interfaceRow(id: string | undefined): Promise<InterfaceTable>
  /** A VPC of its own without an internet gateway, with a subnet in a zone and its default group. */
  addVpc(zone?: string): Promise<{ vpcId: string; subnetId: string; groupId: string }>
}

export async function openInterfaceLab(): Promise<InterfaceLab> {
  const lab = await openAttributeLab()
  const image = await lab.run((context) => insertImage(context))
  const { subnet, groupId } = await lab.run((context) => defaultNetwork(context))
  const launch: InterfaceLab['launch'] = async (change = {}) => {
    const { Instances: [instance] = [] } = await lab.call(runInstances, {
      ImageId: image.image_id, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
      ...(change.NetworkInterfaces ? {} : { SubnetId: subnet.subnet_id }), ...change,
    })
    if (!instance) throw new Error('nothing was launched')
    return instance
  }
  const setState = (instance: Instance, state: 'running' | 'stopped' | 'terminated') => lab.run(async ({ db }) => {
    await db.updateTable('instances').set({ state }).where('instance_id', '=', instance.InstanceId ?? '').execute()
  })
  const end = async (instance: Instance, state: 'stopped' | 'terminated') => {
    await setState(instance, state)
    const { parsed: _, ...row } = await lab.row(instance.InstanceId ?? '')
    await lab.run((context) => releaseAttachments({ ...context, nowMs: NOW_MS }, row))
    await syncPorts()
  }
  const syncPorts = () => lab.run(async ({ db }) => {
    await db
      .updateTable('interfaces').set((eb) => ({ ready: eb.ref('wanted'), synced_revision: eb.ref('revision') })).execute()
    await db.updateTable('interfaces').set({ status: 'in-use' }).where('status', '=', 'pending').execute()
    await db.updateTable('interfaces').set({ host_id: null, slot: null }).where('status', '=', 'available').execute()
    await db
      .deleteFrom('interface_addresses')
      .where('interface_id', 'in', (eb) => eb.selectFrom('interfaces').select('interface_id').where('status', '=', 'removing'))
      .execute()
    await db.deleteFrom('interfaces').where('status', '=', 'removing').execute()
  })
  const only = <T>(items: T[] | undefined): T => {
    const [item, ...others] = items ?? []
    if (item === undefined || others.length > 0) throw new Error(`${items?.length} instead of one`)
    return item
  }
  const describe = async (instance: Instance): Promise<Instance> => {
    const { Reservations: reservations } = await lab.call(describeInstances, { InstanceIds: [instance.InstanceId ?? ''] })
    return only(only(reservations).Instances)
  }
  return {
    ...lab, imageId: image.image_id, subnet, groupId, launch, syncPorts, describe,
    async running(change) {
      const instance = await launch(change)
      await setState(instance, 'running')
      await syncPorts()
      return describe(instance)
    },
    stop: (instance) => end(instance, 'stopped'),
    terminate: (instance) => end(instance, 'terminated'),
    async create(change = {}) {
      const { NetworkInterface: created } = await lab.call(createNetworkInterface, { SubnetId: subnet.subnet_id, ...change })
      return created ?? {}
    },
    async allocate() {
      const { AllocationId = '', PublicIp = '' } = await lab.call(allocateAddress, {})
      return { AllocationId, PublicIp }
    },
    async describeInterface(id = '') {
      return only((await lab.call(describeNetworkInterfaces, { NetworkInterfaceIds: [id] })).NetworkInterfaces)
    },
    interfaceRow: (id = '') => lab.run(({ db }) =>
      db.selectFrom('interfaces').selectAll().where('interface_id', '=', id).executeTakeFirstOrThrow()),
    addVpc: (zone = `${REGION}a`) => lab.run(async ({ db }) => {
      const ids = { vpcId: 'vpc-00000000000000010', subnetId: 'subnet-00000000000000010', groupId: 'sg-00000000000000010' }
      await db.insertInto('vpcs').values({
        vpc_id: ids.vpcId, account_id: DEFAULT_ACCOUNT, cidr: '10.0.0.0/16', is_default: 0, state: 'available',
        created_ms: NOW_MS, doc: '{}',
      }).execute()
      await db.insertInto('subnets').values({
        subnet_id: ids.subnetId, account_id: DEFAULT_ACCOUNT, vpc_id: ids.vpcId, zone, cidr: '10.0.0.0/24', default_for_az: 0,
        map_public_ip: 0, state: 'available', created_ms: NOW_MS, doc: '{}',
      }).execute()
      await insertGroup(db, {
        accountId: DEFAULT_ACCOUNT, vpcId: ids.vpcId, groupId: ids.groupId, name: 'default', description: '', createdMs: NOW_MS,
      })
      return ids
    }),
  }
}
