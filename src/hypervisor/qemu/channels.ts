import type { Socket } from 'node:net'
import { waitFor, type Clock } from '../../core/clock.ts'
import { GuestRefusedError, type KeyChange, type MachineChannels } from '../driver.ts'
import type { Execute, Qemu } from './devices.ts'
import { GuestAgentError, hasGuestAgent, isUnknownCommand, withGuestAgent } from './guest-agent.ts'
import { openSocket } from './qmp.ts'
import { isFrozen } from './quiesce.ts'

/** A guest's agent looks a user up and writes a file; under emulation that takes its time. */
const KEYS_TIMEOUT_MS = 5000
const CONNECT_TIMEOUT_MS = 2000
const POLL_MS = 10

/** See Hypervisor.channels. */
export async function readChannels(execute: Execute): Promise<MachineChannels> {
  return { hasGuestAgent: await hasGuestAgent(execute), isSerialTaken: await isSerialTaken(execute) }
}

/** Whether QEMU has a client at the socket of its serial port; it serves one, and lets others wait without a word. */
export async function isSerialTaken(execute: Execute): Promise<boolean> {
  const channels = (await execute('query-chardev')) as { label: string; filename: string }[]
  const serial = channels.find((channel) => channel.label === 'serial0')
  return serial !== undefined && !serial.filename.startsWith('disconnected:')
}

/** See Hypervisor.openSerial. */
export async function openSerial({ execute, folder }: Qemu, clock: Clock): Promise<Socket | 'busy'> {
  if (await isSerialTaken(execute)) return 'busy'
  const socket = openSocket(folder, 'serial.sock')
  // It closes then, which is all that anybody needs to know.
  socket.on('error', () => {})
  try {
    await connected(socket)
    // Only then does the next one who asks learn of it.
    await waitFor(clock, 'QEMU to take the connection', CONNECT_TIMEOUT_MS, () => isSerialTaken(execute), POLL_MS)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
}

/** See Hypervisor.changeAuthorizedKeys. */
export async function changeAuthorizedKeys(qemu: Qemu, clock: Clock, change: KeyChange): Promise<'done' | 'unreachable' | 'unsupported'> {
  const username = change.osUser
  const result = await withGuestAgent(qemu, clock, async (agent) => {
    try {
      const ask = (verb: 'add' | 'remove', keys: readonly string[]) =>
        keys.length > 0 && agent.ask(`guest-ssh-${verb}-authorized-keys`, { username, keys }, KEYS_TIMEOUT_MS)
      await ask('remove', change.remove)
      await ask('add', change.add)
      return 'done' as const
    } catch (error) {
      // While its file systems are frozen an agent has hardly any commands.
      if (isUnknownCommand(error)) return (await isFrozen(agent)) ? 'unreachable' as const : 'unsupported' as const
      if (error instanceof GuestAgentError) throw new GuestRefusedError(error.message)
      throw error
    }
  })
  return result ?? 'unreachable'
}
