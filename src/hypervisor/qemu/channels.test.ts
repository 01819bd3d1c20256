import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { GuestRefusedError } from '../driver.ts'
import { changeAuthorizedKeys, openSerial, readChannels } from './channels.ts'

let folder: string
const servers: Server[] = []
const sockets: Socket[] = []
/** What the guest's agent was asked, sync aside. */
let asked: unknown[]
let serialClients: number

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-channels-'))
  asked = []
  serialClients = 0
})
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
  rmSync(folder, { recursive: true })
})

async function listen(name: string, serve: (socket: Socket) => void): Promise<void> {
  const server = createServer((socket) => {
    sockets.push(socket)
    serve(socket)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(join(folder, name), resolve))
}

/** An agent that answers every command but sync with `answer`. */
const agent = (answer: object) => listen('qga.sock', (socket) => {
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    for (const line of text.split('\n').filter((each) => each !== '')) {
      const { execute, arguments: args } = JSON.parse(line.slice(line.lastIndexOf('\xff') + 1)) as { execute: string; arguments: { id: number } }
      if (execute === 'guest-sync-delimited') socket.write(Buffer.from(`\xff{"return": ${args.id}}\n`, 'latin1'))
      else {
        asked.push([execute, args])
        socket.write(`${JSON.stringify(answer)}\n`)
      }
    }
  })
})

/** QEMU as it tells of its channels. */
const qemu = (isOpen = true) => ({
  execute: async () => [
    { label: 'serial0', filename: `${serialClients > 0 ? '' : 'disconnected:'}unix:serial.sock,server=on`, 'frontend-open': true },
    { label: 'qga', filename: 'unix:qga.sock,server=on', 'frontend-open': isOpen },
  ],
  folder, uid: null,
})
const change = (isOpen = true) =>
  changeAuthorizedKeys(qemu(isOpen), systemClock, { osUser: 'root', add: ['ssh-rsa A'], remove: ['ssh-rsa B'] })

describe('keys of a guest', () => {
  test('are asked of its agent', async () => {
    await agent({ return: {} })
    expect(await change()).toBe('done')
    expect(asked).toEqual([
      ['guest-ssh-remove-authorized-keys', { username: 'root', keys: ['ssh-rsa B'] }],
      ['guest-ssh-add-authorized-keys', { username: 'root', keys: ['ssh-rsa A'] }],
    ])
  })

  test('are out of reach without an agent, or one that does not know of them', async () => {
    await agent({ error: { class: 'CommandNotFound', desc: 'Command guest-ssh-add-authorized-keys has been disabled' } })
    expect([await change(false), asked]).toEqual(['unreachable', []])
    expect(await change()).toBe('unsupported')
  })

  test('may be refused, in the words of a guest, which are not taken at any length', async () => {
    await agent({ error: { class: 'GenericError', desc: `failed to lookup user 'root'${'!'.repeat(50_000)}` } })
    const refusal: unknown = await change().catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(GuestRefusedError)
    expect(String(refusal)).toContain("failed to lookup user 'root'")
    expect(String(refusal).length).toBeLessThan(1000)
  })
})

test('the serial console is for one: QEMU would let the next wait without a word', async () => {
  await listen('serial.sock', () => void (serialClients += 1))
  expect(await readChannels(qemu(false).execute)).toEqual({ hasGuestAgent: false, isSerialTaken: false })
  const serial = await openSerial(qemu(), systemClock)
  expect(typeof serial).toBe('object')
  expect(await readChannels(qemu().execute)).toEqual({ hasGuestAgent: true, isSerialTaken: true })
  expect([await openSerial(qemu(), systemClock), serialClients]).toEqual(['busy', 1])
  if (serial !== 'busy') serial.destroy()
})
