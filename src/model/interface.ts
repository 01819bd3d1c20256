import type { Random } from '../core/random.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** What of a network interface SQL never looks into. */
export interface InterfaceDoc {
  description: string
  /** Of the present attachment, or the last; empty before the first. */
  attachmentId: string
  attachMs: number
  /** Whether each start of its instance gives it a public address: primary interfaces only. */
  assignPublicIp: boolean
  /** Detaching does not wait for the guest. */
  forceDetach?: boolean
}

/** The doc of an interface row. */
export function interfaceDoc(row: Pick<InterfaceTable, 'doc'>): InterfaceDoc {
  return JSON.parse(row.doc) as InterfaceDoc
}

/** Changes parts of an interface's doc. */
export async function changeInterfaceDoc(db: Db, row: InterfaceTable, change: Partial<InterfaceDoc>): Promise<void> {
  await db
    .updateTable('interfaces').set({ doc: JSON.stringify({ ...interfaceDoc(row), ...change }) })
    .where('interface_id', '=', row.interface_id).execute()
}

/** Private name of an address, as the VPC's resolver and DescribeInstances give it; the guest's own may be in another domain. */
export function privateDnsName(address: string, region: string, domain = privateDomain(region)): string {
  return `ip-${address.replaceAll('.', '-')}.${domain}`
}

/** Domain of private names: ec2.internal in us-east-1, REGION.compute.internal elsewhere. */
export function privateDomain(region: string): string {
  return region === 'us-east-1' ? 'ec2.internal' : `${region}.compute.internal`
}

/** Public name of an address. */
export function publicDnsName(address: string, region: string): string {
  const domain = region === 'us-east-1' ? 'compute-1.amazonaws.com' : `${region}.compute.amazonaws.com`
  return `ec2-${address.replaceAll('.', '-')}.${domain}`
}

/** A locally administered unicast address, like EC2's that start with 02, 06, 0a or 0e. */
export function newMac(random: Random): string {
  return ['02', ...[...random.bytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}
