import { instanceDoc } from '../model/instance.ts'
import type { Db } from '../store/store.ts'
import type { InstanceMetadata, InterfaceMetadata } from './tree.ts'

/**
 * What the metadata service tells the instance that has `privateIp` in the VPC; undefined when none
 * has. A guest asks for a hundred paths as it boots: five queries, whatever the number of interfaces.
 */
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
  return {
    region, accountId: instance.account_id, instanceId, instanceType: instance.instance_type,
    imageId: instance.image_id, reservationId: instance.reservation_id, launchIndex: instance.launch_index,
    launchMs: instance.launch_ms, architecture: doc.architecture, zone: instance.zone, options: doc.metadataOptions,
    monitoring: doc.options.monitoring,
    userData: doc.userData === null ? null : Buffer.from(doc.userData, 'base64'),
    keyName: instance.key_name, publicKey: doc.publicKey, rootDeviceName: doc.rootDeviceName,
    dataDevices: await loadDataDevices(db, instanceId, doc.rootDeviceName),
    interfaces: await loadInterfaces(db, instanceId),
    tags: doc.metadataOptions.instanceMetadataTags === 'enabled' ? await loadTags(db, instance) : [],
  }
}

/** Names of the attached volumes but the root, in order: /dev/sdz comes before /dev/sdaa. */
async function loadDataDevices(db: Db, instanceId: string, rootDeviceName: string): Promise<string[]> {
  const rows = await db
    .selectFrom('volumes').select('device').where('instance_id', '=', instanceId)
    .where('attach_state', '=', 'attached').execute()
  return rows
    .flatMap(({ device }) => (device === null || device === rootDeviceName ? [] : [device]))
    .toSorted((a, b) => a.length - b.length || (a < b ? -1 : 1))
}

/** By device index; groups in the order in which the interface has them. */
async function loadInterfaces(db: Db, instanceId: string): Promise<InterfaceMetadata[]> {
  const rows = await db
    .selectFrom('interfaces')
    .innerJoin('subnets', 'subnets.subnet_id', 'interfaces.subnet_id')
    .innerJoin('vpcs', 'vpcs.vpc_id', 'interfaces.vpc_id')
    .select([
      'interface_id', 'interfaces.account_id as account_id', 'device_index', 'mac', 'private_ip', 'public_ip',
      'interfaces.subnet_id as subnet_id', 'interfaces.vpc_id as vpc_id', 'subnets.cidr as subnetCidr',
      'vpcs.cidr as vpcCidr',
    ])
    .where('instance_id', '=', instanceId).orderBy('device_index').execute()
  const groups = await db
    .selectFrom('interface_groups')
    .innerJoin('interfaces', 'interfaces.interface_id', 'interface_groups.interface_id')
    .innerJoin('security_groups', 'security_groups.group_id', 'interface_groups.group_id')
    .select(['interface_groups.interface_id as interfaceId', 'security_groups.group_id as groupId', 'name'])
    .where('instance_id', '=', instanceId).orderBy('position').execute()
  return rows.map((row) => ({
    interfaceId: row.interface_id, accountId: row.account_id, deviceIndex: row.device_index, mac: row.mac,
    privateIp: row.private_ip, publicIp: row.public_ip, subnetId: row.subnet_id, subnetCidr: row.subnetCidr,
    vpcId: row.vpc_id, vpcCidr: row.vpcCidr,
    groups: groups
      .filter((group) => group.interfaceId === row.interface_id)
      .map(({ groupId, name }) => ({ groupId, name })),
  }))
}

function loadTags(
  db: Db,
  instance: { account_id: string; instance_id: string },
): Promise<{ key: string; value: string }[]> {
  return db
    .selectFrom('tags').select(['key', 'value'])
    .where('account_id', '=', instance.account_id).where('resource_type', '=', 'instance')
    .where('resource_id', '=', instance.instance_id).orderBy('key').execute()
}
