import { privateDnsName, publicDnsName } from '../model/interface.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { InstanceOptions, MetadataOptions } from '../model/instance.ts'
import { identityDocument, type IdentitySignatures } from './identity.ts'

/** Everything that the metadata service knows of one instance. */
export interface InstanceMetadata {
  region: string
  accountId: string
  instanceId: string
  instanceType: string
  imageId: string
  reservationId: string
  launchIndex: number
  launchMs: number
  architecture: string
  zone: string
  /** Null for what it is in, or on, none of. */
  placementGroup: string | null
  partitionNumber: number | null
  dedicatedHostId: string | null
  options: MetadataOptions
  monitoring: InstanceOptions['monitoring']
  /** Whether it was launched so that it can be hibernated. */
  hibernation: boolean
  /** As decoded from what RunInstances got; null when there is none. */
  userData: Buffer | null
  keyName: string | null
  publicKey: string | null
  rootDeviceName: string
  /** Of the names that the guest is told are its own. */
  hostDomain: string
  /** Devices of the attached volumes but the root, in order. */
  dataDevices: string[]
  /** By device index; the first is the primary one. */
  interfaces: InterfaceMetadata[]
  /** Of no meaning where the options do not let the guest see them. */
  tags: { key: string; value: string }[]
  /** Planned for the instance, or lately over, the next first. */
  events: MaintenanceEvent[]
  /** What the market has told it; null on demand. */
  spot: SpotNotices | null
}

export interface SpotNotices {
  /** When it was told that it is likely to be interrupted; null while it was not. */
  rebalanceMs: number | null
  /** What will be done with it, and when; null while it may run on. */
  interruption: { action: 'terminate' | 'stop' | 'hibernate'; actionMs: number } | null
}

export interface MaintenanceEvent {
  eventId: string
  code: string
  description: string
  state: 'scheduled' | 'completed' | 'canceled'
  notBeforeMs: number
  notAfterMs: number | null
}

export interface InterfaceMetadata {
  interfaceId: string
  accountId: string
  deviceIndex: number
  mac: string
  privateIp: string
  publicIp: string | null
  /** Private addresses beside the primary one, each with its public one. */
  secondary: { privateIp: string; publicIp: string | null }[]
  groups: { groupId: string; name: string }[]
  subnetId: string
  subnetCidr: string
  vpcId: string
  /** The primary block first. */
  vpcCidrs: string[]
  /** Whether public addresses have names in the VPC. */
  hasPublicNames: boolean
}

/** A directory; a value is a text or bytes, or a directory again. Maps, as tags may be called `__proto__`. */
export type Directory = Map<string, Entry>
export type Entry = string | Buffer | Directory

/**
 * What a version ("latest") holds: dynamic, meta-data and, when there is any, user-data.
 * What the instance has no value for is not there.
 */
export function buildTree(view: InstanceMetadata, { signature, pkcs7 }: IdentitySignatures): Directory {
  return directory({
    dynamic: directory({
      fws: directory({ 'instance-monitoring': view.monitoring }),
      // AWS has a key for each of the three signatures; here one RSA key makes them all.
      'instance-identity': directory({ document: identityDocument(view), pkcs7, rsa2048: pkcs7, signature }),
    }),
    'meta-data': metaData(view),
    'user-data': view.userData ?? undefined,
  })
}

/** A directory's listing: one entry a line, sub-directories with a slash. */
export function listDirectory(entries: Directory): string {
  return [...entries].map(([name, entry]) => (entry instanceof Map ? `${name}/` : name)).join('\n')
}

function directory(entries: Record<string, Entry | undefined>): Directory {
  const present = Object.entries(entries).filter((pair): pair is [string, Entry] => pair[1] !== undefined)
  return new Map(present)
}

function metaData(view: InstanceMetadata): Directory {
  const [primary] = view.interfaces
  const hostname = primary && privateDnsName(primary.privateIp, view.region, view.hostDomain)
  const publicIp = primary?.publicIp ?? undefined
  const macs = new Map(view.interfaces.map((each) => [each.mac, macOf(each, view)]))
  return directory({
    'ami-id': view.imageId,
    'ami-launch-index': String(view.launchIndex),
    'ami-manifest-path': '(unknown)',
    'block-device-mapping': blockDevices(view),
    events: directory({ maintenance: maintenance(view.events), recommendations: recommendations(view.spot) }),
    hibernation: directory({ configured: String(view.hibernation) }),
    hostname,
    'instance-action': 'none',
    'instance-id': view.instanceId,
    'instance-life-cycle': view.spot ? 'spot' : 'on-demand',
    'instance-type': view.instanceType,
    'local-hostname': hostname,
    'local-ipv4': primary?.privateIp,
    mac: primary?.mac,
    network: directory({ interfaces: directory({ macs }) }),
    placement: directory({
      'availability-zone': view.zone,
      'availability-zone-id': zoneIdOf(view.zone),
      'group-name': view.placementGroup ?? undefined,
      'host-id': view.dedicatedHostId ?? undefined,
      'partition-number': view.partitionNumber === null ? undefined : String(view.partitionNumber),
      region: view.region,
    }),
    profile: 'default-hvm',
    'public-hostname': primary && publicHostname(primary, view.region),
    'public-ipv4': publicIp,
    'public-keys': publicKeys(view),
    'reservation-id': view.reservationId,
    'security-groups': primary?.groups.map((group) => group.name).join('\n'),
    services: directory({ domain: 'amazonaws.com', partition: 'aws' }),
    spot: spot(view.spot),
    system: 'nitro',
    tags: tags(view),
  })
}

function maintenance(events: readonly MaintenanceEvent[]): Directory {
  const isScheduled = (event: MaintenanceEvent) => event.state === 'scheduled'
  return directory({
    history: eventsJson(events.filter((event) => !isScheduled(event))), scheduled: eventsJson(events.filter(isScheduled)),
  })
}

/** A list in JSON, its members in EC2's order. */
function eventsJson(events: readonly MaintenanceEvent[]): string {
  return JSON.stringify(events.map((event) => ({
    NotBefore: eventTime(event.notBeforeMs),
    Code: event.code,
    Description: event.description,
    EventId: event.eventId,
    ...(event.notAfterMs === null ? {} : { NotAfter: eventTime(event.notAfterMs) }),
    State: event.state === 'scheduled' ? 'active' : event.state,
  })), null, 2)
}

/**
 * What an instance that will be interrupted is told. Only one that will be terminated has a termination time.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
 */
function spot(notices: SpotNotices | null): Directory | undefined {
  if (!notices?.interruption) return undefined
  const { action, actionMs } = notices.interruption
  const time = isoSeconds(actionMs)
  return directory({
    'instance-action': JSON.stringify({ action, time }), 'termination-time': action === 'terminate' ? time : undefined,
  })
}

function recommendations(notices: SpotNotices | null): Directory | undefined {
  if (!notices || notices.rebalanceMs === null) return undefined
  return directory({ rebalance: JSON.stringify({ noticeTime: isoSeconds(notices.rebalanceMs) }) })
}

/** 2015-01-05T18:02:00Z */
function isoSeconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** "21 Jan 2019 09:00:43 GMT", a day below 10 with one digit. */
function eventTime(ms: number): string {
  return new Date(ms).toUTCString().replace(/^\w+, 0?/, '')
}

function macOf(each: InterfaceMetadata, { region, hostDomain }: InstanceMetadata): Directory {
  const addresses = [each, ...each.secondary]
  const published = addresses.flatMap(({ privateIp, publicIp }): [string, string][] =>
    (publicIp === null ? [] : [[publicIp, privateIp]]))
  return directory({
    'device-number': String(each.deviceIndex),
    'interface-id': each.interfaceId,
    'ipv4-associations': published.length === 0 ? undefined : new Map(published),
    'local-hostname': privateDnsName(each.privateIp, region, hostDomain),
    'local-ipv4s': addresses.map((address) => address.privateIp).join('\n'),
    mac: each.mac,
    'network-card-index': '0',
    'owner-id': each.accountId,
    'public-hostname': publicHostname(each, region),
    'public-ipv4s': published.length === 0 ? undefined : published.map(([publicIp]) => publicIp).join('\n'),
    'security-group-ids': each.groups.map((group) => group.groupId).join('\n'),
    'security-groups': each.groups.map((group) => group.name).join('\n'),
    'subnet-id': each.subnetId,
    'subnet-ipv4-cidr-block': each.subnetCidr,
    'vpc-id': each.vpcId,
    'vpc-ipv4-cidr-block': each.vpcCidrs[0],
    'vpc-ipv4-cidr-blocks': each.vpcCidrs.join('\n'),
  })
}

/** Only there where the VPC gives names to addresses. */
function publicHostname({ publicIp, hasPublicNames }: InterfaceMetadata, region: string): string | undefined {
  return publicIp === null || !hasPublicNames ? undefined : publicDnsName(publicIp, region)
}

/** As EC2 shows them: `ami` and `root` whole, data volumes by their name below /dev. */
function blockDevices(view: InstanceMetadata): Directory {
  const volumes = view.dataDevices.map((device, index): [string, string] =>
    [`ebs${index + 1}`, device.replace(/^\/dev\//, '')])
  return new Map([['ami', view.rootDeviceName], ...volumes, ['root', view.rootDeviceName]])
}

/** The one directory whose listing is not of its entries: "0=NAME", but the path goes on with "0". */
export const PUBLIC_KEYS_PATH = 'meta-data/public-keys'

function publicKeys({ publicKey }: InstanceMetadata): Directory | undefined {
  return publicKey === null ? undefined : directory({ '0': directory({ 'openssh-key': publicKey.trim() }) })
}

/** Tags that can be part of a path; EC2 refuses others where metadata tags are switched on. */
function tags(view: InstanceMetadata): Directory | undefined {
  if (view.options.instanceMetadataTags === 'disabled') return undefined
  const shown = view.tags.filter(({ key }) => /^[\w+\-=.,:@]+$/.test(key) && !['.', '..', '_index'].includes(key))
  if (shown.length === 0) return undefined
  return directory({ instance: new Map(shown.map(({ key, value }) => [key, value])) })
}
