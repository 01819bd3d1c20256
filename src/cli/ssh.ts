import type { Command } from 'commander'
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { systemClock } from '../core/clock.ts'
import { cloudHomeOf } from '../realm.ts'
import type { Settings } from '../settings.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { findInstance, listInstances, type InstanceView } from './instances.ts'
import { greetsWithSsh, sshArguments } from './ssh-command.ts'
import { settingsInForce } from './up-record.ts'
import type { Terminal } from './terminal.ts'
import { firstObstacle } from './why-not.ts'
import { requireZone } from './zone-trouble.ts'

/** One that answers at all has let its user in by then. */
const SILENCE_MS = 4000

interface SshFlags {
  identity?: string
  user?: string
}

/** `hearth ssh`: a shell, or one command, in an instance; ends with the exit code of ssh. */
export function addSsh(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'ssh', 'open a shell in an instance, or run a command there', [
    'hearth ssh first', 'hearth ssh i-0123 -i ~/.ssh/id_ed25519', 'hearth ssh first -- uname -a',
  ])
  command
    .argument('<instance>', 'its id, the beginning of its id, or its Name')
    .argument('[command...]', 'what to run there; put -- before it')
    .option('-i, --identity <file>', "private key (default: the home's own, where the instance has it)")
    .option('-l, --user <name>', 'whom to log in as (default: what its image says)')
  withSettings(command).action(async (wanted: string, words: string[]) => {
    const { identity, user } = command.opts<SshFlags>()
    const settings = settingsOf(command)
    const instance = await withStore(settings, async (store) => findInstance(await listInstances(store), wanted))
    if (settingsInForce(settings).engine === 'sim') {
      throw new Error(`${instance.instanceId} is simulated: there is nothing to log in to`)
    }
    await withStore(settings, (store) => requireZone(store, settings, instance))
    const session = runSsh(sshArguments(cloudHomeOf(settings), instance, {
      command: words, ...(identity === undefined ? {} : { key: identity }), ...(user === undefined ? {} : { user }),
    }))
    const silence = systemClock.after(SILENCE_MS, () => void explainSilence(settings, instance, terminal).catch(() => {}))
    process.exitCode = await session.finally(() => silence.cancel())
  })
}

/** ssh waits for minutes where a rule drops its packets, and does not know why; we do. */
async function explainSilence(settings: Settings, instance: InstanceView, terminal: Terminal): Promise<void> {
  const { instanceId, publicIp } = instance
  if (publicIp === null || (await greetsWithSsh(systemClock, publicIp))) return
  const obstacle = await withStore(settings, (store) => firstObstacle(store, settings, { source: 'internet', destination: instanceId, port: 22 }))
  if (obstacle !== undefined) terminal.say(`${instanceId} does not answer: ${obstacle} (hearth why-not internet ${instanceId}:22)`)
}

/** Runs ssh on this process's own terminal; answers its exit code. */
function runSsh(words: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    // Ctrl-C in the terminal is for ssh, which passes it on.
    process.on('SIGINT', () => {})
    const child = spawn('ssh', words, { stdio: 'inherit' })
    process.on('SIGTERM', (signal) => child.kill(signal))
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error('ssh is not installed: apt-get install openssh-client') : error))
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)))
  })
}
