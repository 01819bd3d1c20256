import type { Context } from '../ec2/context.ts'
import type { FinishAmbient } from '../ec2/operation.ts'
import { isZoneUp } from '../ec2/zone-available.ts'
import { accountSetting } from '../model/account-setting.ts'
import { SERIAL_CONSOLE_ACCESS } from '../model/pushed-key.ts'
import { Constraints } from '../protocol/constraints.ts'
import { serialConsoleAccessDisabled, serialSessionLimitExceeded, serialSessionUnavailable } from './errors.ts'
import { awaitKey, checkKeyRequest, publicKeyOf, push, requireRunning } from './push-key.ts'
import type { SendKeyResponse, SendSerialConsoleSSHPublicKeyRequest } from './types.ts'

/**
 * SendSerialConsoleSSHPublicKey: for a minute the key lets in at the serial console's own SSH server.
 * https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSerialConsoleSSHPublicKey.html
 */
export async function sendSerialConsoleSSHPublicKey(
  context: Context,
  input: SendSerialConsoleSSHPublicKeyRequest,
): Promise<SendKeyResponse> {
  checkKeyRequest(new Constraints(), input).range('serialPort', input.SerialPort, 0, 0).done('InvalidArgsException')
  const publicKey = publicKeyOf(input)
  const isEnabled = (await accountSetting(context.db, context.account, SERIAL_CONSOLE_ACCESS)) === 'true'
  if (!isEnabled) throw serialConsoleAccessDisabled()
  const instance = await requireRunning(context, input)
  if (!(await isZoneUp(context, instance.zone))) throw serialSessionUnavailable()
  await push(context, instance, { kind: 'serial', os_user: '', public_key: publicKey })
  return { RequestId: context.requestId, Success: true }
}

/** Waits until the agent has looked at the console. @throws ApiError when somebody sits there, or it did not come to it. */
export async function awaitSerialKey(
  ambient: FinishAmbient,
  nowMs: number,
  input: SendSerialConsoleSSHPublicKeyRequest,
): Promise<void> {
  const { InstanceId: instanceId = '' } = input
  const state = await awaitKey(ambient, nowMs, { instance_id: instanceId, kind: 'serial', os_user: '', public_key: publicKeyOf(input) })
  if (state === 'busy') throw serialSessionLimitExceeded()
  if (state !== 'present') throw serialSessionUnavailable()
}
