import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import type { Clock } from '../core/clock.ts'
import { homePaths } from '../home.ts'
import { ownKey } from './first-instance.ts'
import type { InstanceView } from './instances.ts'

export interface SshOptions {
  /** Private key file; the home's own by default, where the instance has it. */
  key?: string
  user?: string
  command?: string[]
}

/**
 * Words for ssh that open a shell in the instance. Host keys are remembered by instance id, in the
 * home: addresses are used again by other machines.
 *
 * @throws Error that says why there is no way in.
 */
export function sshArguments(home: string, instance: InstanceView, { key, user, command = [] }: SshOptions): string[] {
  const { instanceId } = instance
  if (instance.state !== 'running') throw new Error(`${instanceId} is ${instance.state}; only running instances let anyone in`)
  if (instance.publicIp === null) throw new Error(`${instanceId} has no public address`)
  const login = user ?? instance.sshUser
  if (login === null) throw new Error(`the image of ${instanceId} does not say whom to log in as; say it: --user NAME`)
  const file = key ?? ownKeyOf(home, instance)
  return [
    ...(file === undefined ? [] : ['-i', file, '-o', 'IdentitiesOnly=yes']),
    '-o', `HostKeyAlias=${instanceId}`, '-o', `UserKnownHostsFile="${path.join(homePaths(home).run, 'known_hosts')}"`,
    '-o', 'StrictHostKeyChecking=accept-new', '-o', 'LogLevel=ERROR',
    `${login}@${instance.publicIp}`, ...(command.length > 0 ? ['--', ...command] : []),
  ]
}

/** The home's own key file, where the instance was launched with it. */
export function ownKeyOf(home: string, instance: InstanceView): string | undefined {
  const own = ownKey(home)
  return instance.keyName === own.name && existsSync(own.file) ? own.file : undefined
}

const BANNER_TIMEOUT_MS = 2_000

/** Whether an SSH server greets at the address. */
export function greetsWithSsh(clock: Clock, address: string, port = 22): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port })
    const finish = (greets: boolean) => {
      deadline.cancel()
      socket.destroy()
      resolve(greets)
    }
    const deadline = clock.after(BANNER_TIMEOUT_MS, () => finish(false))
    socket.once('data', (chunk) => finish(chunk.toString('latin1').startsWith('SSH-')))
    socket.once('error', () => finish(false))
    socket.once('close', () => finish(false))
  })
}
