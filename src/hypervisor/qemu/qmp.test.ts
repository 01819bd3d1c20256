import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../core/clock.ts'
import { QmpClient, type QmpEvent } from './qmp.ts'

type Request = { execute: string; id: number }
const GREETING = { QMP: { version: {}, capabilities: [] } }

let folder: string
let server: Server
let sockets: Socket[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-qmp-'))
  sockets = []
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
  rmSync(folder, { recursive: true, force: true })
})

/** A QEMU that greets, accepts the capabilities, and leaves the rest to `answer`. */
async function qemu(answer: (request: Request, socket: Socket) => void, greet = true): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket)
    if (greet) socket.write(`${JSON.stringify(GREETING)}\r\n`)
    let buffer = ''
    socket.on('error', () => {})
    socket.on('data', (data) => {
      const lines = (buffer + String(data)).split('\n')
      buffer = lines.pop() ?? ''
      for (const line of lines) {
        const request = JSON.parse(line) as Request
        if (request.execute === 'qmp_capabilities') say(socket, { return: {}, id: request.id })
        else answer(request, socket)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(join(folder, 'qmp.sock'), resolve))
}

function say(socket: Socket, message: unknown): void {
  socket.write(`${JSON.stringify(message)}\r\n`)
}

const connect = (timeoutMs = 5000) => QmpClient.connect(folder, 'qmp.sock', systemClock, timeoutMs)

describe('the QMP client', () => {
  test('matches answers to commands by id, whatever their order', async () => {
    const held: Request[] = []
    await qemu((request, socket) => {
      held.push(request)
      if (held.length < 2) return
      for (const each of held.toReversed()) say(socket, { return: each.execute, id: each.id })
    })
    const client = await connect()
    const answers = await Promise.all([client.execute('a', undefined, 5000), client.execute('b', undefined, 5000)])
    expect(answers).toEqual(['a', 'b'])
    client.close()
  })

  test('hands on events, also in pieces and between answers', async () => {
    await qemu((request, socket) => {
      const text = `${JSON.stringify({ event: 'SHUTDOWN', data: { guest: true }, timestamp: {} })}\r\n`
      socket.write(text.slice(0, 9))
      setImmediate(() => socket.write(`${text.slice(9)}${JSON.stringify({ return: {}, id: request.id })}\r\n`))
    })
    const client = await connect()
    const events: QmpEvent[] = []
    client.onEvent = (event) => events.push(event)
    await client.execute('cont', undefined, 5000)
    expect(events).toEqual([{ event: 'SHUTDOWN', data: { guest: true } }])
    client.close()
  })

  test('reports QEMU\'s refusal in its words', async () => {
    const error = { class: 'CommandNotFound', desc: 'no such thing' }
    await qemu((request, socket) => say(socket, { error, id: request.id }))
    const client = await connect()
    await expect(client.execute('x', undefined, 5000)).rejects.toThrow('x: no such thing')
    client.close()
  })

  test('gives up on a command at its deadline, and ignores the answer that comes after it', async () => {
    const late: Request[] = []
    await qemu((request, socket) => {
      if (request.execute === 'slow') return void late.push(request)
      for (const each of late) say(socket, { return: 'late', id: each.id })
      say(socket, { return: 'quick', id: request.id })
    })
    const client = await connect()
    await expect(client.execute('slow', undefined, 30)).rejects.toThrow('slow: no answer from QEMU within 30 ms')
    expect(await client.execute('next', undefined, 5000)).toBe('quick')
    client.close()
  })

  test('fails what is pending when QEMU ends, says so, and refuses what comes later', async () => {
    await qemu((_request, socket) => socket.destroy())
    const client = await connect()
    let closed = false
    client.onClose = () => (closed = true)
    await expect(client.execute('quit', undefined, 5000)).rejects.toThrow('quit: QEMU closed the connection')
    await waitFor(systemClock, 'onClose', 5000, () => closed)
    await expect(client.execute('cont', undefined, 5000)).rejects.toThrow('closed')
  })

  test('gives up on a socket that is taken: it accepts and says nothing', async () => {
    await qemu(() => {}, false)
    await expect(connect(30)).rejects.toThrow('no greeting from QEMU within 30 ms')
  })

  test('ends the connection at something that is not JSON', async () => {
    await qemu((_request, socket) => socket.write('}{\n'))
    const client = await connect()
    await expect(client.execute('x', undefined, 5000)).rejects.toThrow('closed the connection')
  })

  test('does not follow a link to somebody else\'s socket', async () => {
    await qemu(() => {})
    symlinkSync(join(folder, 'qmp.sock'), join(folder, 'link.sock'))
    await expect(QmpClient.connect(folder, 'link.sock', systemClock, 5000)).rejects.toThrow('not a socket')
  })
})
