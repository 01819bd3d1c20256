import http from 'node:http'
import type net from 'node:net'
import type { Logger } from '../../core/logger.ts'
import { messageOf } from '../../core/errors.ts'
import type { MetadataRequest, MetadataResponse } from '../driver.ts'

const MAX_HEADER_BYTES = 16 * 1024
/** Nothing that may be asked has a body; a little is read and forgotten. */
const MAX_BODY_BYTES = 16 * 1024
const REQUEST_TIMEOUT_MS = 10_000
const KEEP_ALIVE_TIMEOUT_MS = 20_000
/** Without a byte in either direction: a guest that does not read its answer is cut off within twice that. */
const IDLE_TIMEOUT_MS = 20_000
/** Of one VPC, and of one guest in it. */
const MAX_CONNECTIONS = 2000
const MAX_CONNECTIONS_PER_GUEST = 50

/** Connections with a request under way. */
const busy = new WeakSet<net.Socket>()

/** Serves the metadata service on a socket that listens already; returns what ends it. */
export function serveMetadata(
  listener: net.Server,
  answer: (address: string, request: MetadataRequest) => Promise<MetadataResponse>,
  log: Logger,
): () => void {
  const server = http.createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: REQUEST_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS, connectionsCheckingInterval: REQUEST_TIMEOUT_MS / 2,
    },
    (request, response) => void handle(request, response, answer, log),
  )
  server.setTimeout(IDLE_TIMEOUT_MS)
  server.maxConnections = MAX_CONNECTIONS
  limitPerGuest(server)
  server.on('error', (error) => log.error('the metadata service failed', { error: error.message }))
  server.listen(listener)
  return () => {
    server.close()
    server.closeAllConnections()
  }
}

async function handle(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  answer: (address: string, request: MetadataRequest) => Promise<MetadataResponse>,
  log: Logger,
): Promise<void> {
  const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
  // Pipelined: the kernel could not tell a PUT behind a GET, and give its answer the hop limit.
  if (busy.has(request.socket)) return void request.socket.destroy()
  busy.add(request.socket)
  response.once('close', () => busy.delete(request.socket))
  try {
    if (!(await hasSmallBody(request))) {
      response.writeHead(413, { connection: 'close' }).end()
      return
    }
    const { status, headers, body } = await answer(address, {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)])),
    })
    // Node sends no body to HEAD, but its length.
    response.writeHead(status, { ...headers, 'content-length': body.length }).end(body)
  } catch (error) {
    log.warn('a metadata request failed', { address, error: messageOf(error) })
    if (response.headersSent) response.destroy()
    else response.writeHead(503, { 'retry-after': '1', 'content-length': 0 }).end()
  }
}

/** Reads the body away; false when it is too long. */
async function hasSmallBody(request: http.IncomingMessage): Promise<boolean> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) return false
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_BODY_BYTES) return false
  }
  return true
}

function limitPerGuest(server: http.Server): void {
  const open = new Map<string, number>()
  server.on('connection', (socket) => {
    const address = socket.remoteAddress ?? ''
    const count = (open.get(address) ?? 0) + 1
    open.set(address, count)
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1
      if (left === 0) open.delete(address)
      else open.set(address, left)
    })
    if (count > MAX_CONNECTIONS_PER_GUEST) socket.destroy()
  })
}
