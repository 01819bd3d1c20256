import { newId } from '../core/ids.ts'
import type { VpcTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { privateDomain } from './interface.ts'
import type { Making } from './vpc-objects.ts'
import { vpcDoc } from './vpc-wire.ts'

/** What a VPC names in place of a set of DHCP options when it has none. */
export const NO_DHCP_OPTIONS = 'default'
/** Stands for the VPC's own resolver among name servers. */
export const AMAZON_PROVIDED_DNS = 'AmazonProvidedDNS'

/** The options that a set may have, under EC2's names. */
export type DhcpOptionKey =
  | 'domain-name' | 'domain-name-servers' | 'ntp-servers' | 'netbios-name-servers' | 'netbios-node-type'

/** One option with its values, in the order in which they were given. */
export interface DhcpOption {
  key: DhcpOptionKey
  values: string[]
}

/** What of a set of DHCP options SQL never looks into. */
export interface DhcpOptionsDoc {
  /** The set that every account has: its values follow from the region, and are kept nowhere. */
  isDefault: boolean
  options: DhcpOption[]
}

/** What a set of DHCP options says. */
export function dhcpOptionsOf(row: { doc: string }, region: string): DhcpOption[] {
  const doc = JSON.parse(row.doc) as DhcpOptionsDoc
  if (!doc.isDefault) return doc.options
  return [
    { key: 'domain-name', values: [privateDomain(region)] },
    { key: 'domain-name-servers', values: [AMAZON_PROVIDED_DNS] },
  ]
}

/** The account's default set of DHCP options, which new VPCs get; made when it is not there. */
export async function ensureDefaultDhcpOptions({ db, random, nowMs }: Making, accountId: string, newSetId = newId(random, 'dopt')): Promise<string> {
  const rows = await db
    .selectFrom('dhcp_options').selectAll().where('account_id', '=', accountId).orderBy('created_ms').execute()
  const found = rows.find((row) => (JSON.parse(row.doc) as DhcpOptionsDoc).isDefault)
  if (found) return found.dhcp_options_id
  await db.insertInto('dhcp_options').values({
    dhcp_options_id: newSetId, account_id: accountId, created_ms: nowMs,
    doc: JSON.stringify({ isDefault: true, options: [] } satisfies DhcpOptionsDoc),
  }).execute()
  return newSetId
}

/**
 * Has the VPC name a set of DHCP options that exists, or none on purpose. VPCs of an earlier version
 * name one that was never made: that becomes the default set of their account.
 */
export async function ensureDhcpOptions(making: Making, vpcId: string): Promise<void> {
  const { db } = making
  const vpc = await db.selectFrom('vpcs').selectAll().where('vpc_id', '=', vpcId).executeTakeFirst()
  if (!vpc || (await loadDhcpOptions(db, vpc)) !== 'missing') return
  const dhcpOptionsId = await ensureDefaultDhcpOptions(making, vpc.account_id, vpcDoc(vpc).dhcpOptionsId)
  await db.updateTable('vpcs').set({ doc: JSON.stringify({ ...vpcDoc(vpc), dhcpOptionsId }) }).where('vpc_id', '=', vpcId).execute()
}

/** The row of a VPC's set of DHCP options; undefined when it has none, 'missing' when the set it names is not there. */
async function loadDhcpOptions(
  db: Db,
  vpc: Pick<VpcTable, 'account_id' | 'doc'>,
): Promise<{ dhcp_options_id: string; doc: string } | 'missing' | undefined> {
  const { dhcpOptionsId } = vpcDoc(vpc)
  if (dhcpOptionsId === NO_DHCP_OPTIONS) return undefined
  const row = await db
    .selectFrom('dhcp_options').select(['dhcp_options_id', 'doc'])
    .where('account_id', '=', vpc.account_id).where('dhcp_options_id', '=', dhcpOptionsId).executeTakeFirst()
  return row ?? 'missing'
}

/** What DHCP says in a VPC, by option; undefined where the VPC has no set of options. */
export async function loadVpcDhcpOptions(
  db: Db,
  vpc: Pick<VpcTable, 'account_id' | 'doc'>,
  region: string,
): Promise<Map<DhcpOptionKey, string[]> | undefined> {
  const row = await loadDhcpOptions(db, vpc)
  if (row === undefined || row === 'missing') return undefined
  return new Map(dhcpOptionsOf(row, region).map(({ key, values }) => [key, values]))
}
