import type { Command } from 'commander'
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import path from 'node:path'
import { systemClock } from '../core/clock.ts'
import { isSerialTaken } from '../hypervisor/qemu/channels.ts'
import { QmpClient } from '../hypervisor/qemu/qmp.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { findInstance, listInstances } from './instances.ts'
import type { Terminal } from './terminal.ts'
import { requireZone } from './zone-trouble.ts'

/** Ctrl-], as in telnet and virsh. */
const ESCAPE = 0x1d
/** A monitor that is there answers at once. */
const MONITOR_TIMEOUT_MS = 1000
/** How much of what was written before is shown. */
const TAIL_BYTES = 8 * 1024

/** `hearth console`: the serial console, as if one sat before the machine. */
export function addConsole(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'console', 'sit before the serial console of an instance; Ctrl-] leaves it', [
    'hearth console first', 'hearth console i-0123456789abcdef0',
  ])
  command.argument('<instance>', 'its id, the beginning of its id, or its Name')
  withSettings(command).action(async (wanted: string) => {
    const settings = settingsOf(command)
    const instance = await withStore(settings, async (store) => {
      const found = findInstance(await listInstances(store), wanted)
      await requireZone(store, settings, found)
      return found
    })
    const folder = path.join(settings.home, 'instances', instance.instanceId)
    if (instance.state === 'stopped' || instance.state === 'terminated' || !existsSync(path.join(folder, 'serial.sock'))) {
      throw new Error(`${instance.instanceId} is ${instance.state} and has no console to sit at; see aws ec2 get-console-output`)
    }
    // The path of a Unix socket has room for 107 bytes only, which a home may exceed.
    process.chdir(folder)
    if (await isTaken()) {
      throw new Error(`somebody sits at the console of ${instance.instanceId} already (another hearth console, or an SSH session)`)
    }
    terminal.say(`console of ${instance.instanceId}; Ctrl-] leaves it`)
    process.stdout.write(tailOf('console.log'))
    await attach(await connectTo('serial.sock'))
    terminal.say('\nleft the console')
  })
}

/** The end of what the console wrote before, from the beginning of a line. */
function tailOf(file: string): Buffer {
  if (!existsSync(file)) return Buffer.alloc(0)
  const handle = openSync(file, 'r')
  try {
    const size = fstatSync(handle).size
    const start = Math.max(0, size - TAIL_BYTES)
    const tail = Buffer.alloc(size - start)
    const read = readSync(handle, tail, 0, tail.length, start)
    return tail.subarray(start > 0 ? tail.indexOf('\n') + 1 : 0, read)
  } finally {
    closeSync(handle)
  }
}

/** Whether QEMU has a client at the console already, of which it would let a second one wait without a word. */
async function isTaken(): Promise<boolean> {
  const qemu = await QmpClient.connect('.', 'qmp2.sock', systemClock, MONITOR_TIMEOUT_MS).catch(() => undefined)
  try {
    // Who cannot ask is let through: the spare monitor may be taken by a person.
    return qemu ? await isSerialTaken((...command) => qemu.execute(command[0], command[1], MONITOR_TIMEOUT_MS)) : false
  } finally {
    qemu?.close()
  }
}

function connectTo(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath)
    socket.once('connect', () => resolve(socket))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const hint = error.code === 'EACCES' ? 'run this as the user that runs hearth up' : 'the machine may have just ended'
      reject(new Error(`cannot reach the console (${error.message}); ${hint}`))
    })
  })
}

/** Joins the terminal and the console until one of them ends; the terminal is as before afterwards. */
async function attach(socket: Socket): Promise<void> {
  const { stdin, stdout } = process
  const wasRaw = stdin.isTTY && stdin.isRaw
  const leave = () => void socket.destroy()
  const type = (chunk: Buffer) => {
    const end = stdin.isTTY ? chunk.indexOf(ESCAPE) : -1
    if (end !== 0) socket.write(end === -1 ? chunk : chunk.subarray(0, end))
    if (end !== -1) leave()
  }
  const signals = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const
  try {
    if (stdin.isTTY) stdin.setRawMode(true)
    for (const signal of signals) process.on(signal, leave)
    socket.on('data', (chunk) => stdout.write(chunk))
    stdin.on('data', type)
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.once('error', () => resolve())
    })
  } finally {
    for (const signal of signals) process.off(signal, leave)
    stdin.off('data', type)
    if (stdin.isTTY) stdin.setRawMode(wasRaw)
    stdin.pause()
  }
}
