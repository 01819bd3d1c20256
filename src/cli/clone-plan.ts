import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { isBurstable, instanceDoc, type InstanceDoc } from '../model/instance.ts'
import type { InstanceTable, SubnetTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { shellWord } from './command.ts'

/** What of an instance its clones are made by. */
export interface CloneSource {
  instance: InstanceTable
  /** Its own, without those that EC2 itself gives. */
  tags: { key: string; value: string }[]
  /** Of its first interface. */
  groupIds: string[]
  hasPublicIp: boolean
  /** Beside the first one. */
  moreInterfaces: number
  /** Its first interface forwards packets of others: no source/destination check. */
  forwards: boolean
  /** Its key pair was deleted since it was launched. */
  isKeyGone: boolean
  /** All of its VPC. */
  subnets: SubnetTable[]
}

/** What a person asks for. */
export interface CloneOrder {
  /** Letters or whole names: "a,b,us-east-1c". */
  zone: string
  /** In each zone. */
  count: number
  type?: string | undefined
  /** What the clones' names begin with. */
  name?: string | undefined
  key?: string | undefined
  /** Whether the source's user-data runs in the clones, too, whose disks it has changed already. */
  userData?: boolean | undefined
}

/** A launch in one zone: all of its clones, or none. */
export interface ZoneLaunch {
  zone: string
  /** Of the clones. */
  names: string[]
  /** Of RunInstances, but for the image. */
  parameters: Record<string, string>
}

/** Reads what is needed of an instance. @throws Error for one that is terminated, or another account's. */
export function loadSource(store: Store, instanceId: string): Promise<CloneSource> {
  return store.read(async (db) => {
    const instance = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
    // The command calls the API as the home's own account, which does not see those of others.
    if (instance && instance.account_id !== DEFAULT_ACCOUNT) {
      throw new Error(`${instanceId} is of account ${instance.account_id}; hearth clone clones those of the home's own, ${DEFAULT_ACCOUNT}`)
    }
    if (!instance || instance.vpc_id === null) throw new Error(`${instanceId} has no network any more, and cannot be cloned`)
    const [primary, ...others] = await db
      .selectFrom('interfaces').select(['interface_id', 'public_ip', 'source_dest_check']).where('instance_id', '=', instanceId)
      .orderBy('device_index').execute()
    if (!primary) throw new Error(`${instanceId} has no network interface, and cannot be cloned`)
    const groups = await db
      .selectFrom('interface_groups').select('group_id').where('interface_id', '=', primary.interface_id).orderBy('group_id').execute()
    const tags = await db
      .selectFrom('tags').select(['key', 'value']).where('resource_id', '=', instanceId).orderBy('key').execute()
    const subnets = await db.selectFrom('subnets').selectAll().where('vpc_id', '=', instance.vpc_id).orderBy('subnet_id').execute()
    const key = instance.key_name === null ? undefined : await db
      .selectFrom('key_pairs').select('key_pair_id').where('account_id', '=', instance.account_id).where('name', '=', instance.key_name)
      .executeTakeFirst()
    return {
      instance, isKeyGone: instance.key_name !== null && key === undefined, tags: tags.filter(({ key }) => !key.startsWith('aws:')),
      groupIds: groups.map((row) => row.group_id), hasPublicIp: primary.public_ip !== null, moreInterfaces: others.length,
      forwards: primary.source_dest_check === 0, subnets,
    }
  })
}

/**
 * The launches that make an instance's clones, one for each zone.
 *
 * @throws Error for a zone that there is not, or in which the instance's VPC has no subnet; it says how to make one.
 */
export function planClones(source: CloneSource, order: CloneOrder, cloud: { region: string; zones: readonly string[] }): ZoneLaunch[] {
  if (!Number.isSafeInteger(order.count) || order.count < 1) throw new Error('--count must be a whole number, at least 1')
  return zonesNamed(order.zone, cloud).map((zone) => {
    const names = namesIn(source, order, zone.slice(cloud.region.length))
    return { zone, names, parameters: parametersOf(source, order, { subnetId: subnetIn(source, zone).subnet_id, names }) }
  })
}

function zonesNamed(text: string, { region, zones }: { region: string; zones: readonly string[] }): string[] {
  const names = text.split(',').map((each) => each.trim()).filter((each) => each !== '')
  if (names.length === 0) throw new Error('say in which zones, such as --zone a,b,c')
  const found = names.map((name) => {
    const zone = zones.find((each) => each === name || each === `${region}${name}`)
    if (zone === undefined) throw new Error(`there is no zone "${name}"; there are: ${zones.join(', ')}`)
    return zone
  })
  const twice = found.find((zone, index) => found.indexOf(zone) !== index)
  if (twice !== undefined) throw new Error(`${twice} is named twice; --count says how many clones each zone gets`)
  return found
}

/** The instance's own subnet, in its zone; else the default one of its VPC, else any of that. */
function subnetIn({ instance, subnets }: CloneSource, zone: string): SubnetTable {
  const inZone = subnets.filter((subnet) => subnet.zone === zone)
  const found = inZone.find((subnet) => subnet.subnet_id === instance.subnet_id) ?? inZone.find((subnet) => subnet.default_for_az === 1) ?? inZone[0]
  if (found) return found
  throw new Error(
    `${instance.vpc_id} of ${instance.instance_id} has no subnet in ${zone}; make one: ` +
      `aws ec2 create-subnet --vpc-id ${instance.vpc_id} --availability-zone ${zone} --cidr-block <a free part of its addresses>`,
  )
}

/** "web-clone-b", and "web-clone-b-2" where there are several. */
function namesIn({ instance, tags }: CloneSource, { name, count }: CloneOrder, letter: string): string[] {
  const own = tags.find(({ key }) => key === 'Name')?.value || instance.instance_id
  const stem = `${name ?? `${own}-clone`}-${letter}`
  return Array.from({ length: count }, (_, index) => (count === 1 ? stem : `${stem}-${index + 1}`))
}

function parametersOf(source: CloneSource, order: CloneOrder, { subnetId, names }: { subnetId: string; names: string[] }): Record<string, string> {
  const { instance, groupIds, hasPublicIp, isKeyGone, tags } = source
  const doc = instanceDoc(instance)
  const keyName = order.key ?? (isKeyGone ? null : instance.key_name)
  const tagged = [...tags.filter(({ key }) => key !== 'Name'), { key: 'Name', value: names[0] ?? '' }]
  return {
    InstanceType: order.type ?? instance.instance_type, MinCount: String(order.count), MaxCount: String(order.count),
    ...(keyName === null ? {} : { KeyName: keyName }),
    ...(instance.tenancy === 'default' ? {} : { 'Placement.Tenancy': instance.tenancy }),
    'NetworkInterface.1.DeviceIndex': '0', 'NetworkInterface.1.SubnetId': subnetId,
    ...numbered('NetworkInterface.1.SecurityGroupId', groupIds),
    // A stopped one has given up its address: what the subnet gives decides.
    ...(instance.state === 'running' ? { 'NetworkInterface.1.AssociatePublicIpAddress': String(hasPublicIp) } : {}),
    ...optionsOf(doc, order.type === undefined || order.type === instance.instance_type ? instance.instance_type : null),
    ...(order.userData && doc.userData !== null ? { UserData: doc.userData } : {}),
    'TagSpecification.1.ResourceType': 'instance',
    ...numbered('TagSpecification.1.Tag', tagged.map(({ key }) => key), '.Key'),
    ...numbered('TagSpecification.1.Tag', tagged.map(({ value }) => value), '.Value'),
  }
}

/** Options of the source; those that depend on its type only where its clones are of that. */
function optionsOf({ metadataOptions: metadata, shutdownBehavior, options }: InstanceDoc, sameType: string | null): Record<string, string> {
  return {
    'MetadataOptions.HttpTokens': metadata.httpTokens, 'MetadataOptions.HttpEndpoint': metadata.httpEndpoint,
    'MetadataOptions.HttpPutResponseHopLimit': String(metadata.httpPutResponseHopLimit),
    'MetadataOptions.InstanceMetadataTags': metadata.instanceMetadataTags,
    InstanceInitiatedShutdownBehavior: shutdownBehavior,
    ...(options.autoRecovery === 'disabled' ? { 'MaintenanceOptions.AutoRecovery': 'disabled' } : {}),
    ...(options.monitoring === 'enabled' ? { 'Monitoring.Enabled': 'true' } : {}),
    ...(sameType !== null && isBurstable(sameType) && options.cpuCredits ? { 'CreditSpecification.CpuCredits': options.cpuCredits } : {}),
    ...(sameType !== null && options.ebsOptimized ? { EbsOptimized: 'true' } : {}),
    ...(sameType !== null && options.cpu
      ? { 'CpuOptions.CoreCount': String(options.cpu.coreCount), 'CpuOptions.ThreadsPerCore': String(options.cpu.threadsPerCore) } : {}),
  }
}

function numbered(name: string, values: readonly string[], end = ''): Record<string, string> {
  return Object.fromEntries(values.map((value, index) => [`${name}.${index + 1}${end}`, value]))
}

/** What of an order its repetition says again, besides zones and counts. */
interface Again extends Omit<CloneOrder, 'zone' | 'count'> {
  reboot?: boolean | undefined
  keepImage?: boolean | undefined
}

/** The commands that make what zones lack of an order, as a shell takes them: one for each number of clones. */
export function againWith(instanceId: string, missing: ReadonlyMap<string, number>, order: Again): string[] {
  const { type, name, key, userData, reboot, keepImage } = order
  const values = Object.entries({ type, name, key }).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}`, shellWord(value)]))
  const switches = Object.entries({ 'user-data': userData, reboot, 'keep-image': keepImage }).flatMap(([flag, isOn]) => (isOn ? [`--${flag}`] : []))
  return [...new Set(missing.values())].map((count) => {
    const zones = [...missing].flatMap(([zone, each]) => (each === count ? [zone] : []))
    const number = count === 1 ? [] : ['--count', String(count)]
    return ['clone', shellWord(instanceId), '--zone', zones.join(','), ...number, ...values, ...switches].join(' ')
  })
}
