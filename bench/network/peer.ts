import net from 'node:net'
import { performance } from 'node:perf_hooks'

// The other half of `npm run bench -- network`, run inside guests: a server that takes what comes, a
// stream that sends for a while, and a client that connects again and again.

const CHUNK = Buffer.alloc(256 * 1024)
const CLIENTS = 8

const [mode = '', address = '', port = '', durationMs = ''] = process.argv.slice(2)

/** Bytes per second that arrived, as the receiver counts them. */
function serve(): void {
  net.createServer((socket) => {
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    // Read and forgotten, without a copy for each event.
    socket.resume()
  }).listen({ port: Number(port), host: address, backlog: 1024 }, () => console.log('ready'))
}

function stream(): void {
  const socket = net.connect({ host: address, port: Number(port), noDelay: false })
  const startedMs = performance.now()
  const untilMs = startedMs + Number(durationMs)
  const send = () => {
    while (performance.now() < untilMs) {
      if (!socket.write(CHUNK)) return void socket.once('drain', send)
    }
    socket.end()
  }
  socket.once('connect', send)
  // The receiver closes when it has read everything.
  socket.resume()
  socket.once('close', () => console.log((socket.bytesWritten * 1000) / (performance.now() - startedMs)))
}

function connectAgain(): void {
  const startedMs = performance.now()
  const untilMs = startedMs + Number(durationMs)
  let count = 0
  let running = CLIENTS
  const next = () => {
    if (performance.now() >= untilMs) {
      running--
      if (running === 0) console.log((count * 1000) / (performance.now() - startedMs))
      return
    }
    const socket = net.connect({ host: address, port: Number(port) })
    socket.once('connect', () => {
      count++
      // Reset rather than closed: no port stays taken for a minute.
      socket.resetAndDestroy()
    })
    socket.once('error', () => {})
    socket.once('close', next)
  }
  for (let client = 0; client < CLIENTS; client++) next()
}

if (mode === 'serve') serve()
else if (mode === 'stream') stream()
else connectAgain()
