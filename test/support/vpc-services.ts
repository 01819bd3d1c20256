import { newId } from '../../src/core/ids.ts'
import type { Context } from '../../src/ec2/context.ts'
import type { DhcpOptionKey, DhcpOptionsDoc } from '../../src/model/dhcp-options.ts'
import { vpcDoc, type VpcDoc } from '../../src/model/vpc-wire.ts'
import type { InterfaceTable } from '../../src/store/schema.ts'
import { NOW_MS, type TestStore } from './rows.ts'

/** Changes what of a VPC is in its doc: attributes and DHCP options. */
export async function changeVpc(test: TestStore, vpcId: string, change: Partial<VpcDoc>): Promise<void> {
  await test.run(async ({ db }) => {
    const row = await db.selectFrom('vpcs').select('doc').where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
    await db.updateTable('vpcs').set({ doc: JSON.stringify({ ...vpcDoc(row), ...change }) }).where('vpc_id', '=', vpcId).execute()
  })
}

/** Gives a VPC a new set of DHCP options. */
export async function giveOptions(test: TestStore, vpcId: string, options: Partial<Record<DhcpOptionKey, string[]>>): Promise<void> {
  const dhcpOptionsId = await test.run(async ({ db, random }) => {
    const id = newId(random, 'dopt')
    const { account_id } = await db.selectFrom('vpcs').select('account_id').where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
    const doc: DhcpOptionsDoc = {
      isDefault: false,
      options: Object.entries(options).map(([key, values]) => ({ key: key as DhcpOptionKey, values })),
    }
    await db.insertInto('dhcp_options').values({
      dhcp_options_id: id, account_id, created_ms: NOW_MS, doc: JSON.stringify(doc),
    }).execute()
    return id
  })
  await changeVpc(test, vpcId, { dhcpOptionsId })
}

/** A further private address of an interface, with its public one where it has any. */
export async function addSecondary(
  { db }: Context,
  row: Pick<InterfaceTable, 'interface_id' | 'vpc_id'>,
  privateIp: string,
  publicIp: string | null,
): Promise<void> {
  await db.insertInto('interface_addresses').values({
    interface_id: row.interface_id, vpc_id: row.vpc_id, private_ip: privateIp, public_ip: publicIp, created_ms: NOW_MS,
  }).execute()
}
