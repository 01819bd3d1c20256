import { AMAZON_PROVIDED_DNS, loadVpcDhcpOptions } from '../model/dhcp-options.ts'
import { eventDoc, shownDescription } from '../model/instance-event.ts'
import { instanceDoc } from '../model/instance.ts'
import { privateDomain } from '../model/interface.ts'
import { namesAddresses } from '../model/vpc-names.ts'
import { groupBy } from '../store/batch.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { InstanceMetadata, InterfaceMetadata, MaintenanceEvent } from './tree.ts'

/**
 * What the metadata service tells the instance that has `privateIp` in the VPC, as the primary or a
 * secondary address of any of its interfaces; undefined when none has. A guest asks for a hundred
 * paths as it boots: twelve queries at most, whatever the number of interfaces.
 */
export async function loadInstanceMetadata(
  db: Db,
  region: string,
  vpcId: string,
  privateIp: string,
): Promise<InstanceMetadata | undefined> {
  const instance = await findInstance(db, vpcId, privateIp)
  if (!instance) return undefined
  const instanceId = instance.instance_id
  const doc = instanceDoc(instance)
  return {
    region, accountId: instance.account_id, instanceId, instanceType: instance.instance_type,
    imageId: instance.image_id, reservationId: instance.reservation_id, launchIndex: instance.launch_index,
    launchMs: instance.launch_ms, architecture: doc.architecture, zone: instance.zone, options: doc.metadataOptions,
    placementGroup: await loadGroupName(db, instance.placement_group_id),
    partitionNumber: instance.partition_number, dedicatedHostId: instance.dedicated_host_id,
    monitoring: doc.options.monitoring, hibernation: doc.hibernation ?? false,
    userData: doc.userData === null ? null : Buffer.from(doc.userData, 'base64'),
    keyName: instance.key_name, publicKey: doc.publicKey, rootDeviceName: doc.rootDeviceName,
    hostDomain: await loadHostDomain(db, region, vpcId),
    dataDevices: await loadDataDevices(db, instanceId, doc.rootDeviceName),
    interfaces: await loadInterfaces(db, instanceId),
    tags: doc.metadataOptions.instanceMetadataTags === 'enabled' ? await loadTags(db, instance) : [],
    events: await loadEvents(db, instanceId),
    spot: instance.lifecycle === 'spot' ? doc.spot ?? { rebalanceMs: null, interruption: null } : null,
  }
}

async function loadGroupName(db: Db, groupId: string | null): Promise<string | null> {
  if (groupId === null) return null
  const group = await db.selectFrom('placement_groups').select('name').where('group_id', '=', groupId).executeTakeFirst()
  return group?.name ?? null
}

async function findInstance(db: Db, vpcId: string, privateIp: string): Promise<InstanceTable | undefined> {
  const ofInterface = db
    .selectFrom('instances').selectAll('instances')
    .innerJoin('interfaces', 'interfaces.instance_id', 'instances.instance_id')
  const primary = await ofInterface
    .where('interfaces.vpc_id', '=', vpcId).where('interfaces.private_ip', '=', privateIp).executeTakeFirst()
  return primary ?? ofInterface
    .innerJoin('interface_addresses', 'interface_addresses.interface_id', 'interfaces.interface_id')
    .where('interface_addresses.vpc_id', '=', vpcId).where('interface_addresses.private_ip', '=', privateIp)
    .executeTakeFirst()
}

/**
 * EC2 puts a domain of one's own into host names only where the VPC's DHCP options name servers that
 * may know it: its own resolver does not.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateDhcpOptions.html
 */
async function loadHostDomain(db: Db, region: string, vpcId: string): Promise<string> {
  const vpc = await db.selectFrom('vpcs').select(['account_id', 'doc']).where('vpc_id', '=', vpcId).executeTakeFirst()
  const options = vpc && (await loadVpcDhcpOptions(db, vpc, region))
  const servers = options?.get('domain-name-servers') ?? [AMAZON_PROVIDED_DNS]
  const domain = servers.includes(AMAZON_PROVIDED_DNS) ? undefined : options?.get('domain-name')?.[0]
  return domain ?? privateDomain(region)
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
      'vpcs.cidr as vpcCidr', 'vpcs.doc as vpcDoc', 'is_default',
    ])
    .where('instance_id', '=', instanceId).orderBy('device_index').execute()
  const groups = await db
    .selectFrom('interface_groups')
    .innerJoin('interfaces', 'interfaces.interface_id', 'interface_groups.interface_id')
    .innerJoin('security_groups', 'security_groups.group_id', 'interface_groups.group_id')
    .select(['interface_groups.interface_id as interfaceId', 'security_groups.group_id as groupId', 'name'])
    .where('instance_id', '=', instanceId).orderBy('position').execute()
  const secondary = groupBy(await db
    .selectFrom('interface_addresses').innerJoin('interfaces', 'interfaces.interface_id', 'interface_addresses.interface_id')
    .select(['interface_addresses.interface_id as interfaceId', 'interface_addresses.private_ip as privateIp',
      'interface_addresses.public_ip as publicIp'])
    .where('instance_id', '=', instanceId)
    .orderBy('interface_addresses.created_ms').orderBy('interface_addresses.private_ip').execute(), (each) => each.interfaceId)
  const moreCidrs = groupBy(await loadMoreCidrs(db, instanceId), (each) => each.vpc_id)
  return rows.map((row) => ({
    interfaceId: row.interface_id, accountId: row.account_id, deviceIndex: row.device_index, mac: row.mac,
    privateIp: row.private_ip, publicIp: row.public_ip, subnetId: row.subnet_id, subnetCidr: row.subnetCidr,
    vpcId: row.vpc_id,
    vpcCidrs: [row.vpcCidr, ...(moreCidrs.get(row.vpc_id) ?? []).map((each) => each.cidr)],
    hasPublicNames: namesAddresses({ doc: row.vpcDoc, is_default: row.is_default }),
    secondary: (secondary.get(row.interface_id) ?? []).map(({ privateIp, publicIp }) => ({ privateIp, publicIp })),
    groups: groups
      .filter((group) => group.interfaceId === row.interface_id)
      .map(({ groupId, name }) => ({ groupId, name })),
  }))
}

/** Blocks beside the primary one of the VPC that the instance is in. */
function loadMoreCidrs(db: Db, instanceId: string): Promise<{ vpc_id: string; cidr: string }[]> {
  const vpcs = db.selectFrom('interfaces').select('vpc_id').where('instance_id', '=', instanceId)
  return db.selectFrom('vpc_cidrs').select(['vpc_id', 'cidr']).where('vpc_id', 'in', vpcs).orderBy('created_ms').execute()
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

async function loadEvents(db: Db, instanceId: string): Promise<MaintenanceEvent[]> {
  const rows = await db
    .selectFrom('instance_events').selectAll().where('instance_id', '=', instanceId)
    .orderBy('not_before_ms').orderBy('event_id').execute()
  return rows.map((row) => ({
    eventId: row.event_id, code: row.code, description: shownDescription(row), state: row.state,
    notBeforeMs: row.not_before_ms, notAfterMs: eventDoc(row).notAfterMs,
  }))
}
