import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../core/clock.ts'
import { jsonLogger } from '../../core/logger.ts'
import type { MetadataRequest } from '../driver.ts'
import { serveMetadata } from './http.ts'

let port: number
let close: () => void
let asked: { address: string; request: MetadataRequest }[]
let logged: string[]
const agent = new http.Agent({ keepAlive: true })

beforeEach(async () => {
  asked = []
  logged = []
  const listener = net.createServer()
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  port = (listener.address() as AddressInfo).port
  close = serveMetadata(listener, async (address, request) => {
    asked.push({ address, request })
    if (request.path === '/broken') throw new Error('no database')
    return { status: 200, headers: { 'content-type': 'text/plain' }, body: Buffer.from('i-1') }
  }, jsonLogger(systemClock, 'test', (line) => logged.push(line)))
})

afterEach(() => {
  close()
  agent.destroy()
})

interface Answer {
  status: number | undefined
  headers: http.IncomingHttpHeaders
  text: string
}

function request(path: string, options: http.RequestOptions = {}, body?: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host: '127.0.0.1', port, path, ...options }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function connect(): Promise<net.Socket> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(socket))
    socket.on('error', () => {}).resume()
  })
}

describe('the metadata server', () => {
  it('hands on who asks for what, and answers with the length', async () => {
    const answer = await request('/latest/?a=b', { headers: { 'X-Aws-Ec2-Metadata-Token': 'abc' } })
    expect(answer).toMatchObject({
      status: 200, text: 'i-1', headers: { 'content-length': '3', 'content-type': 'text/plain' },
    })
    expect(asked).toMatchObject([{
      address: '127.0.0.1',
      request: { method: 'GET', path: '/latest/?a=b', headers: { 'x-aws-ec2-metadata-token': 'abc' } },
    }])
  })

  it('sends no body to HEAD', async () => {
    expect(await request('/latest/', { method: 'HEAD' })).toMatchObject({
      status: 200, text: '', headers: { 'content-length': '3' },
    })
  })

  it('keeps connections for more requests', async () => {
    await request('/', { agent })
    await waitFor(systemClock, 'the connection to be free', 5000, () => Object.keys(agent.freeSockets).length === 1)
    await request('/', { agent })
    expect(Object.values(agent.freeSockets).flat().length + Object.values(agent.sockets).flat().length).toBe(1)
    expect(asked).toHaveLength(2)
  })

  it('refuses a large body without asking anybody', async () => {
    const announced = { method: 'PUT', headers: { 'content-length': 20_000 } }
    expect((await request('/', announced, Buffer.alloc(20_000))).status).toBe(413)
    expect(asked).toEqual([])
    const streamed = request('/', { method: 'PUT', headers: { 'transfer-encoding': 'chunked' } }, Buffer.alloc(200_000))
    expect(await streamed.then((answer) => answer.status, () => 'closed')).toBeOneOf([413, 'closed'])
    expect(asked).toEqual([])
    expect((await request('/')).status).toBe(200)
  })

  it('answers 503 and says why in the log when the answer cannot be found', async () => {
    expect(await request('/broken')).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
    expect(logged.join()).toContain('no database')
  })

  it('takes at most 50 connections of one guest, and new ones once some are closed', async () => {
    const sockets = await Promise.all(Array.from({ length: 50 }, connect))
    const excess = await connect()
    await waitFor(systemClock, 'the 51st to be closed', 5000, () => excess.destroyed)
    expect(sockets.filter((socket) => socket.destroyed)).toEqual([])
    for (const socket of sockets) socket.destroy()
    await waitFor(systemClock, 'an answer', 5000, () => request('/').catch(() => undefined))
  })

  it('survives what is not HTTP', async () => {
    const endless = `GET / HTTP/1.1\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`
    for (const junk of ['\0\xff junk\r\n\r\n', 'GET /\r\n\r\n', endless]) {
      const socket = net.connect(port, '127.0.0.1')
      socket.on('error', () => {}).resume()
      socket.end(junk)
      await waitFor(systemClock, 'the connection to end', 5000, () => socket.closed)
    }
    expect((await request('/')).status).toBe(200)
  })

  it('is gone once closed', async () => {
    close()
    await expect(request('/')).rejects.toThrow('ECONNREFUSED')
  })
})
