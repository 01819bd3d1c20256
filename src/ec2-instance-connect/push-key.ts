import { SshKeyError, openSshLine, parsePublicKey } from '../core/ssh-public-key.ts'
import type { Context } from '../ec2/context.ts'
import type { FinishAmbient } from '../ec2/operation.ts'
import { PUSHED_KEY_MS, pushKey } from '../model/pushed-key.ts'
import type { Constraints } from '../protocol/constraints.ts'
import type { InstanceTable, PushedKeyTable } from '../store/schema.ts'
import { instanceNotFound, instanceStateInvalid, invalidArgs, throttled } from './errors.ts'

/** How long a call waits for the agent. */
const DEADLINE_MS = 5000
const POLL_MS = 20

/** What every call here says. */
interface KeyRequest {
  InstanceId?: string
  SSHPublicKey?: string
}

/** Checks what every call here says against AWS's model. */
export function checkKeyRequest(constraints: Constraints, { InstanceId, SSHPublicKey }: KeyRequest): Constraints {
  return constraints
    .text('instanceId', InstanceId, { min: 10, max: 32, pattern: '^i-[a-f0-9]+$' })
    .text('sSHPublicKey', SSHPublicKey, { min: 80, max: 4096 })
}

/** The key as a line of authorized_keys without a comment. @throws ApiError InvalidArgsException. */
export function publicKeyOf({ SSHPublicKey = '' }: KeyRequest): string {
  try {
    // Other forms of keys are ImportKeyPair's.
    if (!SSHPublicKey.trimStart().startsWith('ssh-')) throw new SshKeyError()
    return openSshLine(parsePublicKey(Buffer.from(SSHPublicKey)))
  } catch (error) {
    if (error instanceof SshKeyError) throw invalidArgs(`SSH Public key is invalid. ${error.message}`)
    throw error
  }
}

/** The instance, which runs. @throws ApiError for one that is not there or does not. */
export async function requireRunning({ db, account }: Context, { InstanceId = '' }: KeyRequest): Promise<InstanceTable & { host_id: string }> {
  const row = await db
    .selectFrom('instances').selectAll().where('account_id', '=', account).where('instance_id', '=', InstanceId).executeTakeFirst()
  if (!row) throw instanceNotFound()
  const { host_id: hostId } = row
  if (row.state !== 'running' || hostId === null) throw instanceStateInvalid()
  return { ...row, host_id: hostId }
}

/** Has the agent let the caller in. @throws ApiError ThrottlingException where too many are let in already. */
export async function push(
  context: Context,
  instance: InstanceTable & { host_id: string },
  key: Pick<PushedKeyTable, 'kind' | 'os_user' | 'public_key'>,
): Promise<void> {
  const whose = { account_id: instance.account_id, instance_id: instance.instance_id }
  if (!(await pushKey(context, { ...whose, ...key }, instance.host_id))) throw throttled()
}

/** What has become of the key that was pushed at `nowMs`; undefined when the agent has not answered in time. */
export async function awaitKey(
  { store, clock }: FinishAmbient,
  nowMs: number,
  key: Pick<PushedKeyTable, 'instance_id' | 'kind' | 'os_user' | 'public_key'>,
): Promise<'present' | 'unavailable' | 'refused' | 'busy' | undefined> {
  const deadlineMs = clock.now() + DEADLINE_MS
  for (;;) {
    const row = await store.read((db) => db
      .selectFrom('pushed_keys').select('state').where('instance_id', '=', key.instance_id).where('kind', '=', key.kind)
      .where('os_user', '=', key.os_user).where('public_key', '=', key.public_key)
      .where('expires_ms', '>=', nowMs + PUSHED_KEY_MS).executeTakeFirst())
    if (row && row.state !== 'pending' && row.state !== 'asked') return row.state
    if (!row || clock.now() >= deadlineMs) return undefined
    await clock.sleep(POLL_MS)
  }
}
