import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemDelivery } from './system-delivery.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-delivery-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('a file', () => {
  const file = () => path.join(folder, 'events.jsonl')

  it('is made for its owner alone, and gets lines at its end', async () => {
    await systemDelivery.append(file(), ['{"a":1}', '{"b":2}'])
    await systemDelivery.append(file(), ['{"c":3}'])
    expect([readFileSync(file(), 'utf8'), statSync(file()).mode & 0o777]).toEqual(['{"a":1}\n{"b":2}\n{"c":3}\n', 0o600])
  })

  it('whose last line a power cut has torn does not spoil the next one', async () => {
    writeFileSync(file(), '{"a":1}\n{"b"')
    await systemDelivery.append(file(), ['{"c":3}'])
    expect(readFileSync(file(), 'utf8')).toBe('{"a":1}\n{"b"\n{"c":3}\n')
  })

  it('that is a link, a folder or nowhere gets nothing', async () => {
    writeFileSync(path.join(folder, 'other'), '')
    symlinkSync(path.join(folder, 'other'), file())
    await expect(systemDelivery.append(file(), ['x'])).rejects.toThrow('it is a link, and links are not followed')
    expect(readFileSync(path.join(folder, 'other'), 'utf8')).toBe('')
    mkdirSync(path.join(folder, 'folder'))
    await expect(systemDelivery.append(path.join(folder, 'folder'), ['x'])).rejects.toThrow()
    await expect(systemDelivery.append(path.join(folder, 'none', 'events'), ['x'])).rejects.toThrow('its folder is not there')
  })
})

describe('a webhook', () => {
  let server: Server
  let url: string
  const paths: string[] = []
  beforeEach(async () => {
    paths.length = 0
    server = createServer((request, response) => {
      paths.push(request.url ?? '')
      if (request.url === '/moved') return response.writeHead(302, { location: '/elsewhere' }).end()
      response.writeHead(429, { 'retry-after': '7' }).end('x'.repeat(100_000))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(() => void server.close())

  it('says how it took it, and how long it wants to be left alone', async () => {
    expect(await systemDelivery.post({ url, headers: {}, body: '{}' })).toEqual({ status: 429, retryAfterMs: 7000 })
  })

  it('is not followed elsewhere', async () => {
    expect((await systemDelivery.post({ url: `${url}/moved`, headers: {}, body: '{}' })).status).toBe(302)
    expect(paths).toEqual(['/moved'])
  })

  it('that is not there fails with the reason', async () => {
    server.close()
    server.closeAllConnections()
    await expect(systemDelivery.post({ url, headers: {}, body: '{}' })).rejects.toThrow(/ECONNREFUSED/)
    await expect(systemDelivery.post({ url: url.replace('127.0.0.1', 'localhost'), headers: {}, body: '{}' })).rejects.toThrow('ECONNREFUSED')
  })

  it('is asked at any port, also at those that a browser must not be sent to', async () => {
    // Nobody listens there, and fetch would not find that out.
    await expect(systemDelivery.post({ url: 'http://127.0.0.1:9/', headers: {}, body: '{}' })).rejects.toThrow('connect ECONNREFUSED 127.0.0.1:9')
  })

  it('without TLS that is called with it fails in one line', async () => {
    const failure = await systemDelivery.post({ url: url.replace('http:', 'https:'), headers: {}, body: '{}' }).catch((error: Error) => error.message)
    expect(failure).toMatch(/^[^\n]*wrong version number[^\n]*$/)
  })

  it('that does not answer is left when whoever waits must end', async () => {
    const ending = new AbortController()
    server.removeAllListeners('request').on('request', () => ending.abort())
    await expect(systemDelivery.post({ url, headers: {}, body: '{}' }, ending.signal)).rejects.toThrow(/abort/)
    server.closeAllConnections()
  })
})
