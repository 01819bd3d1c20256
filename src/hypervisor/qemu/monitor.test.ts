import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../core/clock.ts'
import { Monitors } from './monitor.ts'

let folder: string
let servers: Server[]
/** Clients that are at each socket now. */
let clients: Record<string, number>

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-monitor-'))
  clients = {}
  servers = await Promise.all(['qmp.sock', 'qmp2.sock'].map(qemu))
})
afterEach(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve))
  rmSync(folder, { recursive: true })
})

/** A QEMU's socket, at which every command is answered with its own name. */
async function qemu(name: string): Promise<Server> {
  const server = createServer((socket) => {
    clients[name] = (clients[name] ?? 0) + 1
    socket.on('error', () => {})
    socket.once('close', () => (clients[name] = (clients[name] ?? 0) - 1))
    socket.write('{"QMP":{}}\r\n')
    socket.on('data', (data) => {
      for (const line of String(data).trim().split('\n')) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number }
        socket.write(`${JSON.stringify({ return: execute, id })}\r\n`)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(join(folder, name), resolve))
  return server
}

const gone = (name: string) => waitFor(systemClock, `nobody at ${name}`, 5000, () => clients[name] === 0)

describe('the monitors of machines', () => {
  test('stay connected to the first, where events come', async () => {
    const monitors = new Monitors(systemClock, () => {})
    expect(await monitors.execute('i-1', folder, 'stop')).toBe('stop')
    expect(clients).toEqual({ 'qmp.sock': 1 })
    await monitors.close()
    await gone('qmp.sock')
  })

  test('of another process of the same home leave that one to the machine\'s own, and go when they have asked', async () => {
    const monitors = new Monitors(systemClock, () => {}, false)
    expect(await monitors.execute('i-1', folder, 'stop')).toBe('stop')
    await gone('qmp2.sock')
    expect(clients).toEqual({ 'qmp2.sock': 0 })
    await monitors.close()
  })
})
