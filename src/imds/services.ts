import { formatIpv4, parseCidr, parseIpv4 } from '../core/cidr.ts'
import type { Clock } from '../core/clock.ts'
import { privateDnsName, privateDomain, publicDnsName } from '../model/interface.ts'
import type { Lease, VpcServices } from '../network/driver.ts'
import type { Db, Store } from '../store/store.ts'
import { noteContact } from './contact.ts'
import { createIdentitySigner, identityDocument } from './identity.ts'
import type { IdentityKey } from './identity-key.ts'
import { answerMetadata, answerStranger } from './server.ts'
import { loadInstanceMetadata } from './view.ts'

/** EC2's leases last an hour; a guest renews after half of it. */
const LEASE_SECONDS = 3600
const MTU = 1500

/** Answers what guests ask from the database, which alone knows who has which address. */
export function createDatabaseServices(options: {
  store: Store
  clock: Clock
  region: string
  /** Signs the metadata service's tokens; the same after a restart, so that they stay good. */
  secret: Buffer
  /** Signs identity documents. */
  identityKey: IdentityKey
}): VpcServices {
  const { store, clock, region, secret, identityKey } = options
  const signIdentity = createIdentitySigner(identityKey)
  return {
    async leaseFor(vpcId, mac) {
      const lease = await store.read((db) => findLease(db, region, vpcId, mac))
      if (lease) await noteContact(options, vpcId, mac)
      return lease
    },
    resolveName: (vpcId, name) => store.read((db) => resolveName(db, region, vpcId, name)),
    resolveAddress: (vpcId, address) => store.read((db) => resolveAddress(db, region, vpcId, address)),
    async metadata(vpcId, address, request) {
      const view = await store.read((db) => loadInstanceMetadata(db, region, vpcId, address))
      if (!view) return answerStranger()
      const signatures = await signIdentity(identityDocument(view), view.launchMs)
      return answerMetadata(view, request, { nowMs: clock.now(), secret, signatures })
    },
  }
}

async function findLease(db: Db, region: string, vpcId: string, mac: string): Promise<Lease | undefined> {
  const row = await db
    .selectFrom('interfaces')
    .innerJoin('subnets', 'subnets.subnet_id', 'interfaces.subnet_id')
    .innerJoin('vpcs', 'vpcs.vpc_id', 'interfaces.vpc_id')
    .select(['private_ip', 'subnets.cidr as subnetCidr', 'vpcs.cidr as vpcCidr'])
    .where('interfaces.vpc_id', '=', vpcId).where('mac', '=', mac.toLowerCase())
    .executeTakeFirst()
  const subnet = row && parseCidr(row.subnetCidr)
  const vpc = row && parseCidr(row.vpcCidr)
  if (!row || !subnet || !vpc) return undefined
  const domainName = privateDomain(region)
  return {
    address: row.private_ip,
    prefix: subnet.prefix,
    // EC2 keeps the subnet's second address for its router, and the VPC's third for its resolver.
    gateway: formatIpv4(subnet.base + 1),
    dns: [formatIpv4(vpc.base + 2)],
    domainName,
    hostname: privateDnsName(row.private_ip, region).slice(0, -domainName.length - 1),
    mtu: MTU,
    leaseSeconds: LEASE_SECONDS,
  }
}

/** A private name is the private address; a public one too inside its VPC, and the public one elsewhere. */
async function resolveName(db: Db, region: string, vpcId: string, name: string): Promise<string | undefined> {
  const wanted = name.toLowerCase()
  const address = /^(?:ip|ec2)-(\d+)-(\d+)-(\d+)-(\d+)\./.exec(wanted)?.slice(1).join('.')
  // Compared by their spelling: ip-010-0-0-1 is nobody's name.
  if (address === undefined || parseIpv4(address) === undefined) return undefined
  if (wanted === privateDnsName(address, region)) {
    const row = await db
      .selectFrom('interfaces').select('private_ip').where('vpc_id', '=', vpcId).where('private_ip', '=', address)
      .executeTakeFirst()
    return row?.private_ip
  }
  if (wanted !== publicDnsName(address, region)) return undefined
  const row = await db
    .selectFrom('interfaces').select(['vpc_id', 'private_ip']).where('public_ip', '=', address).executeTakeFirst()
  return row && (row.vpc_id === vpcId ? row.private_ip : address)
}

async function resolveAddress(db: Db, region: string, vpcId: string, address: string): Promise<string | undefined> {
  const own = await db
    .selectFrom('interfaces').select('interface_id').where('vpc_id', '=', vpcId).where('private_ip', '=', address)
    .executeTakeFirst()
  if (own) return privateDnsName(address, region)
  const published = await db
    .selectFrom('interfaces').select('interface_id').where('public_ip', '=', address).executeTakeFirst()
  return published && publicDnsName(address, region)
}
