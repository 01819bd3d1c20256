import { contains, parseIpv4, type Cidr } from '../core/cidr.ts'
import { privateDnsName, publicDnsName } from '../model/interface.ts'
import { allowsRemoteDns, namesAddresses } from '../model/vpc-names.ts'
import type { Db, Store } from '../store/store.ts'

/**
 * The address of a private or public name, as the resolver of that VPC knows it. Private names are of
 * every private address of the VPC. A public one stands for the private address inside its VPC, and in
 * peered VPCs whose peering allows it; for the public address elsewhere (split horizon). In a VPC that
 * gives no names to addresses there are none of either kind.
 * https://docs.aws.amazon.com/vpc/latest/userguide/vpc-dns.html
 */
export async function resolveName(db: Db, region: string, vpcId: string, name: string): Promise<string | undefined> {
  const wanted = name.toLowerCase()
  const address = addressIn(wanted)
  if (address === undefined) return undefined
  if (wanted === privateDnsName(address, region)) return (await isPrivate(db, vpcId, address)) ? address : undefined
  if (wanted !== publicDnsName(address, region)) return undefined
  const holder = await holderOf(db, address)
  if (!holder) return undefined
  const isInside = holder.vpcId === vpcId || (await isPeerAllowed(db, holder.vpcId, vpcId))
  return isInside ? holder.privateIp : address
}

/** The name of an address, as the resolver of that VPC knows it. */
export async function resolveAddress(db: Db, region: string, vpcId: string, address: string): Promise<string | undefined> {
  if (await isPrivate(db, vpcId, address)) return privateDnsName(address, region)
  return (await holderOf(db, address)) && publicDnsName(address, region)
}

/** An address that a name is made of. Names are compared by their spelling: ip-010-0-0-1 is nobody's. */
function addressIn(name: string): string | undefined {
  const address = /^(?:ip|ec2)-(\d+)-(\d+)-(\d+)-(\d+)\./.exec(name)?.slice(1).join('.')
  return address !== undefined && parseIpv4(address) !== undefined ? address : undefined
}

/** Another region of this cloud. Its public names are known to everybody, as those of all the world. */
export interface NamedRegion {
  region: string
  /** What its public addresses are from. */
  publicPool: Cidr
  /** Its database; undefined where there is none any more. */
  open(): Promise<Pick<Store, 'read'> | undefined>
}

/** The address of a public name in another region: whoever is not in the VPC of its holder is given the public one. */
export async function resolveNameElsewhere(others: readonly NamedRegion[], name: string): Promise<string | undefined> {
  const wanted = name.toLowerCase()
  const address = addressIn(wanted)
  return address !== undefined && (await resolveAddressElsewhere(others, address)) === wanted ? address : undefined
}

/** The public name of an address of another region. */
export async function resolveAddressElsewhere(others: readonly NamedRegion[], address: string): Promise<string | undefined> {
  const number = parseIpv4(address)
  const other = others.find(({ publicPool }) => number !== undefined && contains(publicPool, number))
  const holder = await (await other?.open())?.read((db) => holderOf(db, address))
  return other && holder && publicDnsName(address, other.region)
}

/** Whether it is a private address of the VPC, primary or secondary, that has a name. */
async function isPrivate(db: Db, vpcId: string, address: string): Promise<boolean> {
  const primary = db.selectFrom('interfaces').select('vpc_id').where('vpc_id', '=', vpcId).where('private_ip', '=', address)
  const secondary = db
    .selectFrom('interface_addresses').select('vpc_id').where('vpc_id', '=', vpcId).where('private_ip', '=', address)
  const found = (await primary.executeTakeFirst()) ?? (await secondary.executeTakeFirst())
  return found !== undefined && (await hasNames(db, vpcId))
}

/** Who holds a public address that has a name: a primary or secondary private address, a NAT gateway's too. */
async function holderOf(db: Db, publicIp: string): Promise<{ vpcId: string; privateIp: string } | undefined> {
  const primary = db.selectFrom('interfaces').select(['vpc_id', 'private_ip']).where('public_ip', '=', publicIp)
  const secondary = db.selectFrom('interface_addresses').select(['vpc_id', 'private_ip']).where('public_ip', '=', publicIp)
  const found = (await primary.executeTakeFirst()) ?? (await secondary.executeTakeFirst())
  if (!found || !(await hasNames(db, found.vpc_id))) return undefined
  return { vpcId: found.vpc_id, privateIp: found.private_ip }
}

async function hasNames(db: Db, vpcId: string): Promise<boolean> {
  const vpc = await db.selectFrom('vpcs').select(['doc', 'is_default']).where('vpc_id', '=', vpcId).executeTakeFirst()
  return vpc !== undefined && namesAddresses(vpc)
}

/** Whether the VPC that holds an address lets a peered one resolve its public name to the private address. */
async function isPeerAllowed(db: Db, holderId: string, askingId: string): Promise<boolean> {
  const peerings = await db
    .selectFrom('vpc_peerings').select(['requester_vpc_id', 'doc']).where('status', '=', 'active')
    .where((eb) => eb.or([
      eb.and([eb('requester_vpc_id', '=', holderId), eb('accepter_vpc_id', '=', askingId)]),
      eb.and([eb('requester_vpc_id', '=', askingId), eb('accepter_vpc_id', '=', holderId)]),
    ]))
    .execute()
  return peerings.some((peering) => allowsRemoteDns(peering, holderId))
}
