import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { NOW_MS, REGION } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import type { Db } from '../store/store.ts'
import { DEFAULT_ACCOUNT } from './account.ts'
import { ensureDefaultDhcpOptions, loadVpcDhcpOptions } from './dhcp-options.ts'
import { ensureVpcObjects, type Making } from './vpc-objects.ts'
import { vpcDoc } from './vpc-wire.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const making = (db: Db): Making => ({ db, random: seededRandom(7), nowMs: NOW_MS })
const vpcOf = (db: Db, vpcId = account.defaultVpcId) =>
  db.selectFrom('vpcs').selectAll().where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
const setsOf = (db: Db) => db.selectFrom('dhcp_options').selectAll().where('account_id', '=', DEFAULT_ACCOUNT).execute()

describe('the DHCP options of a VPC', () => {
  it('are made under the id that a home of an earlier version gave them', async () => {
    await account.query(async (db) => {
      const before = await vpcOf(db)
      await db.deleteFrom('dhcp_options').where('account_id', '=', DEFAULT_ACCOUNT).execute()
      for (let n = 0; n < 2; n++) await ensureVpcObjects(making(db), before)
      expect(await vpcOf(db)).toEqual(before)
      expect((await setsOf(db)).map((row) => row.dhcp_options_id)).toEqual([vpcDoc(before).dhcpOptionsId])
    })
  })

  it('are the default ones where the VPC names a set that is not there', async () => {
    await account.addVpc('vpc-0123456789abcdef0')
    await account.query(async (db) => {
      const [set] = await setsOf(db)
      await ensureVpcObjects(making(db), await vpcOf(db, 'vpc-0123456789abcdef0'))
      expect(vpcDoc(await vpcOf(db, 'vpc-0123456789abcdef0')).dhcpOptionsId).toBe(set?.dhcp_options_id)
      expect(await setsOf(db)).toHaveLength(1)
    })
  })

  it('stay none where it has none', async () => {
    await account.query(async (db) => {
      const vpc = await vpcOf(db)
      const doc = JSON.stringify({ ...vpcDoc(vpc), dhcpOptionsId: 'default' })
      await db.updateTable('vpcs').set({ doc }).where('vpc_id', '=', vpc.vpc_id).execute()
      await ensureVpcObjects(making(db), vpc)
      expect((await vpcOf(db)).doc).toBe(doc)
      expect(await loadVpcDhcpOptions(db, { ...vpc, doc }, REGION)).toBeUndefined()
    })
  })

  it('are made anew as the default ones when those are gone', async () => {
    await account.query(async (db) => {
      const [old] = await setsOf(db)
      await db.deleteFrom('dhcp_options').where('account_id', '=', DEFAULT_ACCOUNT).execute()
      const id = await ensureDefaultDhcpOptions(making(db), DEFAULT_ACCOUNT)
      expect(id).not.toBe(old?.dhcp_options_id)
      expect(await ensureDefaultDhcpOptions(making(db), DEFAULT_ACCOUNT)).toBe(id)
    })
  })
})
