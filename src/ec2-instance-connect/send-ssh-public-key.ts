import type { Context } from '../ec2/context.ts'
import type { FinishAmbient } from '../ec2/operation.ts'
import { isZoneUp } from '../ec2/zone-available.ts'
import { Constraints } from '../protocol/constraints.ts'
import { instanceNotFound, instanceUnavailable, invalidArgs } from './errors.ts'
import { awaitKey, checkKeyRequest, publicKeyOf, push, requireRunning } from './push-key.ts'
import type { SendKeyResponse, SendSSHPublicKeyRequest } from './types.ts'

/** As AWS's model has it, without what it escapes needlessly. */
const OS_USER = '(^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$)|'
  + '(^(?=.{2,32}$)[0-9]{1,32}[A-Za-z@._-][A-Za-z0-9@._-]*[A-Za-z0-9$_-]?$)'

/**
 * SendSSHPublicKey: for a minute the key lets in over SSH, as a user of the guest, whose agent puts it there.
 * https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSSHPublicKey.html
 */
export async function sendSSHPublicKey(context: Context, input: SendSSHPublicKeyRequest): Promise<SendKeyResponse> {
  const { InstanceOSUser: osUser = '', AvailabilityZone: zone } = input
  checkKeyRequest(new Constraints(), input)
    .text('instanceOSUser', osUser, { min: 1, max: 32, pattern: OS_USER })
    .text('availabilityZone', zone, { min: 6, max: 32, pattern: '^(\\w+-){2,3}\\d+\\w+$' })
    .done('InvalidArgsException')
  const publicKey = publicKeyOf(input)
  const instance = await requireRunning(context, input)
  if (zone !== undefined && zone !== instance.zone) throw instanceNotFound()
  if (!(await isZoneUp(context, instance.zone))) throw instanceUnavailable('Wait a few minutes and try again.')
  await push(context, instance, { kind: 'ssh', os_user: osUser, public_key: publicKey })
  return { RequestId: context.requestId, Success: true }
}

/** Waits until the key is in the guest. @throws ApiError when it does not get there. */
export async function awaitSshKey(ambient: FinishAmbient, nowMs: number, input: SendSSHPublicKeyRequest): Promise<void> {
  const { InstanceId: instanceId = '', InstanceOSUser: osUser = '' } = input
  const state = await awaitKey(ambient, nowMs, { instance_id: instanceId, kind: 'ssh', os_user: osUser, public_key: publicKeyOf(input) })
  if (state === 'present') return
  if (state === 'refused') throw invalidArgs(`The instance does not take a key for the user '${osUser}'; is there such a user?`)
  throw instanceUnavailable(
    'No guest agent in it has taken the key: its image needs qemu-guest-agent, which must run, for EC2 Instance Connect. '
    + 'An instance that has just been started may need a moment more.')
}
