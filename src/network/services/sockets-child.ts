/**
 * A short-lived process that runs inside a VPC's network namespace: it opens the sockets it is told
 * (JSON in its argument), hands them to its parent, and ends. A process of Node cannot change its
 * namespace by itself.
 */
import dgram from 'node:dgram'
import net from 'node:net'
import type { SocketMessage, SocketSpec } from './sockets.ts'

const opened: { spec: SocketSpec; handle: net.Server | dgram.Socket }[] = []

/** A parent that is gone wants nothing any more. */
process.once('disconnect', () => process.exit(0))

try {
  // All of them first: the parent gets everything or an error.
  for (const spec of JSON.parse(process.argv[2] ?? '[]') as SocketSpec[]) {
    opened.push({ spec, handle: spec.protocol === 'tcp' ? await listenTcp(spec) : await bindUdp(spec) })
  }
  for (const { spec, handle } of opened) await send({ id: spec.id }, handle)
} catch (error) {
  await send({ error: error instanceof Error ? error.message : String(error) })
}
process.disconnect?.()

function listenTcp(spec: SocketSpec): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen({ host: spec.address, port: spec.port, exclusive: true }, () => resolve(server))
  })
}

function bindUdp(spec: SocketSpec): Promise<dgram.Socket> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4')
    socket.once('error', reject)
    socket.bind({ address: spec.address, port: spec.port, exclusive: true }, () => resolve(socket))
  })
}

function send(message: SocketMessage, handle?: net.Server | dgram.Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!process.send) return reject(new Error('this program is started by Hearth alone'))
    process.send(message, handle, {}, (error) => (error ? reject(error) : resolve()))
  })
}
