import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import { Api, response, uuid, type ApiOptions } from './api.ts'
import { encodeError } from './encode.ts'
import { loadServiceModel } from './model.ts'
import { MAX_BODY_BYTES } from './query.ts'
import type { RawRequest, RawResponse } from './request.ts'
import { WebGuard } from './web-guard.ts'

export type { ApiCall, Dispatch } from './api.ts'
export type { RawRequest, RawResponse } from './request.ts'

export interface ApiServer {
  /**
   * Listens on `host`; port 0 takes a free one. Resolves to the port.
   *
   * @throws Error that says what to do, when it cannot listen there.
   */
  listen(port: number, host: string): Promise<number>
  /** Takes no more requests, finishes those that run, for five seconds at most. */
  close(): Promise<void>
  /** Answers a request without sockets. Rejects only with CrashError. */
  handle(request: RawRequest): Promise<RawResponse>
}

export interface ApiServerOptions extends ApiOptions {
  clock: Clock
  /** Host names, beside those of loopback and the one listened on, that clients may use for it. */
  allowedHosts?: string[]
}

const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 30_000
const KEEP_ALIVE_TIMEOUT_MS = 60_000
const CLOSE_TIMEOUT_MS = 5_000
/** A GET carries its parameters in the request line. */
const MAX_HEADER_BYTES = 64 * 1024
/** A body beyond the limit is read (and dropped) up to here, so that its sender reads the answer. */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024

/** The endpoint of all services, over plain HTTP. */
export function createApiServer(options: ApiServerOptions): ApiServer {
  const { clock, log, random } = options
  const guard = new WebGuard(options.allowedHosts)
  const api = new Api(options, guard)
  let isClosing = false

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await readBody(incoming)
    const answer = await api.handle(rawRequest(incoming, body))
    if (isClosing || body.length > MAX_BODY_BYTES) outgoing.setHeader('connection', 'close')
    if (typeof answer.body === 'string') {
      // An answer that can have no body may not say how long it is either.
      const length = answer.status === 204 ? {} : { 'content-length': Buffer.byteLength(answer.body) }
      outgoing.writeHead(answer.status, { ...answer.headers, ...length }).end(answer.body)
    } else {
      outgoing.writeHead(answer.status, answer.headers)
      await sendPieces(outgoing, answer.body)
    }
  }

  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    requireHostHeader: false,
  }, (incoming, outgoing) => {
    serve(incoming, outgoing).catch((error: unknown) => {
      // Most often the client went away before its request was complete.
      if (!incoming.destroyed || incoming.complete) log.error('request not answered', { detail: messageOf(error) })
      // Of a request that came whole, destroying `incoming` would leave the connection open.
      incoming.socket.destroy()
    })
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const requestId = uuid(random)
    const status = refuse(error, socket, requestId)
    if (status === undefined) return
    log.info('request', { requestId, service: null, action: null, account: null, status, code: 'InvalidRequest' })
  })

  return {
    async listen(port, host) {
      guard.allow(host)
      await listening(server, port, host)
      return (server.address() as AddressInfo).port
    },
    async close() {
      isClosing = true
      if (!server.listening) return
      const timer = clock.after(CLOSE_TIMEOUT_MS, () => server.closeAllConnections())
      await new Promise((resolve) => server.close(resolve))
      timer.cancel()
    },
    async handle(request) {
      const answer = await api.handle(request)
      return { ...answer, body: typeof answer.body === 'string' ? answer.body : await joined(answer.body) }
    },
  }
}

function listening(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const taken = `port ${port} of ${host} is taken; stop what uses it or choose another port`
      const reason = error.code === 'EADDRINUSE' ? taken : error.message
      reject(new Error(`cannot listen: ${reason}`, { cause: error }))
    }
    server.once('error', onError)
    server.listen(port, host, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

/** The whole body; of one beyond the limit only so much that it is seen to be. */
function readBody(incoming: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let read = 0
    const finish = () => resolve(Buffer.concat(chunks))
    incoming.on('data', (chunk: Buffer) => {
      if (read <= MAX_BODY_BYTES) chunks.push(chunk)
      read += chunk.length
      if (read <= MAX_DISCARDED_BYTES) return
      incoming.pause()
      finish()
    })
    incoming.on('end', finish)
    incoming.on('error', reject)
    incoming.on('close', () => reject(new Error('the connection was closed before the request was complete')))
  })
}

/**
 * Sends an answer as it is made: no faster than the client reads, and with a turn for everybody
 * else after each piece. When a piece fails, so does this, and the connection ends in the middle of
 * the answer: the client must not take it for a whole one.
 */
async function sendPieces(outgoing: ServerResponse, pieces: AsyncIterable<string>): Promise<void> {
  for await (const piece of pieces) {
    if (outgoing.destroyed) return
    if (outgoing.write(piece)) await nextTurn()
    else await drained(outgoing)
  }
  outgoing.end()
}

/** Resolves when the client has read what was written, or is gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      outgoing.off('drain', finish)
      outgoing.off('close', finish)
      resolve()
    }
    outgoing.on('drain', finish)
    outgoing.on('close', finish)
  })
}

async function joined(pieces: AsyncIterable<string>): Promise<string> {
  let whole = ''
  for await (const piece of pieces) whole += piece
  return whole
}

function rawRequest(incoming: IncomingMessage, body: Buffer): RawRequest {
  const headers: Record<string, string | undefined> = Object.create(null) as Record<string, undefined>
  for (const [name, value] of Object.entries(incoming.headers)) {
    headers[name] = Array.isArray(value) ? value.join(',') : value
  }
  return { method: incoming.method ?? '', url: incoming.url ?? '', headers, body }
}

/** What is not HTTP, too long or too slow to be a request, told in EC2's shape all the same. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex, requestId: string): number | undefined {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return undefined
  }
  const [status, reason, message] = REFUSALS[error.code ?? ''] ?? [400, 'Bad Request', 'This is not an HTTP request.']
  const xml = encodeError(loadServiceModel('ec2'), { code: 'InvalidRequest', message, isSender: true }, requestId)
  const answer = response(status, xml, requestId)
  const headers = { ...answer.headers, 'content-length': Buffer.byteLength(xml), connection: 'close' }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${reason}\r\n${lines.join('')}\r\n${xml}`)
  return status
}

const REFUSALS: Record<string, [number, string, string]> = {
  HPE_HEADER_OVERFLOW: [
    431, 'Request Header Fields Too Large', `The headers are larger than ${MAX_HEADER_BYTES} bytes.`,
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'The request did not arrive in time.'],
}
