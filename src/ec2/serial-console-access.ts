import type {
  DisableSerialConsoleAccessRequest, DisableSerialConsoleAccessResult, EnableSerialConsoleAccessRequest,
  EnableSerialConsoleAccessResult, GetSerialConsoleAccessStatusRequest, GetSerialConsoleAccessStatusResult,
} from '@aws-sdk/client-ec2'
import { accountSetting, setAccountSetting } from '../model/account-setting.ts'
import { SERIAL_CONSOLE_ACCESS } from '../model/pushed-key.ts'
import type { Context } from './context.ts'

/** GetSerialConsoleAccessStatus: whether keys may be pushed for serial consoles of the account; not unless it was enabled. */
export async function getSerialConsoleAccessStatus(
  { db, account }: Context,
  _input: GetSerialConsoleAccessStatusRequest,
): Promise<GetSerialConsoleAccessStatusResult> {
  const value = await accountSetting(db, account, SERIAL_CONSOLE_ACCESS)
  return { SerialConsoleAccessEnabled: value === 'true', ManagedBy: 'account' }
}

/** EnableSerialConsoleAccess. */
export async function enableSerialConsoleAccess(
  { db, account }: Context,
  _input: EnableSerialConsoleAccessRequest,
): Promise<EnableSerialConsoleAccessResult> {
  await setAccountSetting(db, account, SERIAL_CONSOLE_ACCESS, 'true')
  return { SerialConsoleAccessEnabled: true }
}

/** DisableSerialConsoleAccess: nobody comes in any more; who sits at a console already may stay. */
export async function disableSerialConsoleAccess(
  { db, account }: Context,
  _input: DisableSerialConsoleAccessRequest,
): Promise<DisableSerialConsoleAccessResult> {
  await setAccountSetting(db, account, SERIAL_CONSOLE_ACCESS, null)
  return { SerialConsoleAccessEnabled: false }
}
