import { instanceDoc } from '../model/instance.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { InstanceMetadata, InterfaceMetadata } from './tree.ts'

/** What the metadata service tells the instance that has `privateIp` in the VPC; undefined when none has. */
export async function loadInstanceMetadata(
  db: Db,
  region: string,
  vpcId: string,
  privateIp: string,
): Promise<InstanceMetadata | undefined> {
  const instance = await db
    .selectFrom('instances').selectAll('instances')
    .innerJoin('interfaces', 'interfaces.instance_id', 'instances.instance_id')
    .where('interfaces.vpc_id', '=', vpcId).where('interfaces.private_ip', '=', privateIp)
    .executeTakeFirst()
  if (!instance) return undefined
  const instanceId = instance.instance_id
  const doc = instanceDoc(instance)
  const interfaces = await db
    .selectFrom('interfaces').selectAll().where('instance_id', '=', instanceId).orderBy('device_index').execute()
  const volumes = await db
    .selectFrom('volumes').select('device').where('instance_id', '=', instanceId)
    .where('attach_state', '=', 'attached').orderBy('device').execute()
  const tags = await db
    .selectFrom('tags').select(['key', 'value'])
    .where('account_id', '=', instance.account_id).where('resource_type', '=', 'instance')
    .where('resource_id', '=', instanceId).orderBy('key').execute()
  return {
    region, accountId: instance.account_id, instanceId, instanceType: instance.instance_type,
    imageId: instance.image_id, reservationId: instance.reservation_id, launchIndex: instance.launch_index,
    launchMs: instance.launch_ms, architecture: doc.architecture, zone: instance.zone, options: doc.metadataOptions,
    userData: doc.userData === null ? null : Buffer.from(doc.userData, 'base64'),
    keyName: instance.key_name, publicKey: doc.publicKey, rootDeviceName: doc.rootDeviceName,
    dataDevices: volumes.flatMap(({ device }) => (device === null || device === doc.rootDeviceName ? [] : [device])),
    interfaces: await Promise.all(interfaces.map((row) => loadInterface(db, row))),
    tags,
  }
}

async function loadInterface(db: Db, row: InterfaceTable): Promise<InterfaceMetadata> {
  const subnet = await db
    .selectFrom('subnets').innerJoin('vpcs', 'vpcs.vpc_id', 'subnets.vpc_id')
    .select(['subnets.cidr as subnetCidr', 'vpcs.cidr as vpcCidr'])
    .where('subnet_id', '=', row.subnet_id).executeTakeFirstOrThrow()
  const groups = await db
    .selectFrom('interface_groups')
    .innerJoin('security_groups', 'security_groups.group_id', 'interface_groups.group_id')
    .select(['security_groups.group_id as groupId', 'name'])
    .where('interface_id', '=', row.interface_id).orderBy('position').execute()
  return {
    interfaceId: row.interface_id, accountId: row.account_id, deviceIndex: row.device_index, mac: row.mac,
    privateIp: row.private_ip, publicIp: row.public_ip, groups, subnetId: row.subnet_id, vpcId: row.vpc_id, ...subnet,
  }
}
