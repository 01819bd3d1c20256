import { formatIpv4, parseCidr } from '../core/cidr.ts'
import { AMAZON_PROVIDED_DNS, loadVpcDhcpOptions } from '../model/dhcp-options.ts'
import { privateDnsName, privateDomain } from '../model/interface.ts'
import type { Lease } from '../network/driver.ts'
import { LINK_LOCAL_RESOLVER } from '../network/linux/names.ts'
import type { Db } from '../store/store.ts'

/** EC2's leases last an hour; a guest renews after half of it. */
const LEASE_SECONDS = 3600
const MTU = 1500

/**
 * The lease of the interface with that MAC address, as the rows are now: a renewal brings what has
 * changed. EC2 leases the primary private address only, and says the same to every interface of an
 * instance: which default route counts is for the guest to decide.
 */
export async function findLease(db: Db, region: string, vpcId: string, mac: string): Promise<Lease | undefined> {
  const row = await db
    .selectFrom('interfaces')
    .innerJoin('subnets', 'subnets.subnet_id', 'interfaces.subnet_id')
    .innerJoin('vpcs', 'vpcs.vpc_id', 'interfaces.vpc_id')
    .select(['private_ip', 'subnets.cidr as subnetCidr', 'vpcs.cidr as vpcCidr', 'vpcs.account_id', 'vpcs.doc'])
    .where('interfaces.vpc_id', '=', vpcId).where('mac', '=', mac.toLowerCase())
    .executeTakeFirst()
  const subnet = row && parseCidr(row.subnetCidr)
  const vpc = row && parseCidr(row.vpcCidr)
  if (!row || !subnet || !vpc) return undefined
  return {
    address: row.private_ip,
    prefix: subnet.prefix,
    // EC2 keeps the subnet's second address for its router, and the VPC's third for its resolver.
    gateway: formatIpv4(subnet.base + 1),
    // An unqualified name, whatever the domain of the options.
    hostname: privateDnsName(row.private_ip, region).slice(0, -privateDomain(region).length - 1),
    mtu: MTU,
    leaseSeconds: LEASE_SECONDS,
    ...(await configuration(db, row, region, formatIpv4(vpc.base + 2))),
  }
}

type Configuration = Pick<Lease, 'dns' | 'domainName' | 'ntpServers' | 'netbiosServers' | 'netbiosNodeType'>

/** What the VPC's DHCP options say; without them a guest has but the link-local resolver, as on Nitro. */
async function configuration(
  db: Db,
  vpc: { account_id: string; doc: string },
  region: string,
  resolver: string,
): Promise<Configuration> {
  const options = await loadVpcDhcpOptions(db, vpc, region)
  if (!options) return { dns: [LINK_LOCAL_RESOLVER], domainName: null }
  const ntpServers = options.get('ntp-servers')
  const netbiosServers = options.get('netbios-name-servers')
  const nodeType = options.get('netbios-node-type')?.[0]
  return {
    dns: (options.get('domain-name-servers') ?? []).map((server) => (server === AMAZON_PROVIDED_DNS ? resolver : server)),
    domainName: options.get('domain-name')?.[0] ?? null,
    ...(ntpServers && { ntpServers }),
    ...(netbiosServers && { netbiosServers }),
    ...(nodeType !== undefined && { netbiosNodeType: Number(nodeType) }),
  }
}
