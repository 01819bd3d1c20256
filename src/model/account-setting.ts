import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

const settingOf = prepared((db, account: string, name: string) =>
  db.selectFrom('account_settings').select('value').where('account_id', '=', account).where('name', '=', name))

/** A setting of an account; undefined where it was never made, or taken back. */
export async function accountSetting(db: Db, account: string, name: string): Promise<string | undefined> {
  return (await settingOf(db, account, name))[0]?.value
}

/** Makes a setting of an account; null takes it back. */
export async function setAccountSetting(db: Db, account: string, name: string, value: string | null): Promise<void> {
  await db.deleteFrom('account_settings').where('account_id', '=', account).where('name', '=', name).execute()
  if (value !== null) await db.insertInto('account_settings').values({ account_id: account, name, value }).execute()
}
