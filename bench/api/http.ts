import net from 'node:net'

/** An answer; of a long one only the length, the end, and how many instances it shows. */
export interface Answer {
  status: number
  bytes: number
  instances: number
  /** The whole text when it is short, else its end. */
  text: string
}

const KEPT_BYTES = 256 * 1024
const END_BYTES = 200
const INSTANCE = Buffer.from('<instanceId>')
const HEADERS_END = Buffer.from('\r\n\r\n')
const LINE_END = Buffer.from('\r\n')

/** One connection of one client: HTTP/1.1 with next to no cost of its own, kept open while the server does. */
export class Connection {
  readonly #port: number
  #socket: net.Socket | undefined

  constructor(port: number) {
    this.#port = port
  }

  /** Sends a form, answers when the last byte of the answer is there. @throws Error for anything but a whole answer. */
  async post(form: string): Promise<Answer> {
    const socket = this.#socket ??= await connect(this.#port)
    const reader = new AnswerReader()
    try {
      return await new Promise<Answer>((resolve, reject) => {
        socket.on('data', (chunk: Buffer) => {
          if (reader.take(chunk)) resolve(reader.answer())
        })
        socket.on('error', reject)
        socket.on('close', () => {
          if (reader.endsWithConnection) resolve(reader.answer())
          else reject(new Error('the server closed the connection within an answer'))
        })
        socket.write(requestOf(this.#port, form))
      })
    } finally {
      socket.removeAllListeners()
      // What comes after this must not end the process.
      socket.on('error', () => {})
      if (reader.mustClose) this.close()
    }
  }

  close(): void {
    this.#socket?.destroy()
    this.#socket = undefined
  }
}

function connect(port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** In the form of a signed request, by which moto tells the service; the signature is good in permissive mode only. */
function requestOf(port: number, form: string): string {
  const scope = 'test/20261124/us-east-1/ec2/aws4_request'
  return `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-Amz-Date: 20261124T000000Z\r\n`
    + `Authorization: AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host;x-amz-date, Signature=${'0'.repeat(64)}\r\n`
    + 'Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n'
    + `Content-Length: ${Buffer.byteLength(form)}\r\n\r\n${form}`
}

/** Takes an answer in as it comes. */
class AnswerReader {
  mustClose = false
  endsWithConnection = false
  #status = 0
  /** Bytes of the body (or of the present chunk) still to come; undefined before that is known. */
  #left: number | undefined
  #isChunked = false
  #hasHead = false
  #pending: Buffer = Buffer.alloc(0)
  #kept: Buffer[] | undefined = []
  #bytes = 0
  #instances = 0
  #end: Buffer = Buffer.alloc(0)

  /** Whether the answer is whole with this. */
  take(chunk: Buffer): boolean {
    let data = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    this.#pending = Buffer.alloc(0)
    if (!this.#hasHead) {
      const at = data.indexOf(HEADERS_END)
      if (at === -1) return this.#wait(data)
      this.#readHead(data.subarray(0, at).toString('latin1'))
      data = data.subarray(at + HEADERS_END.length)
    }
    return this.#isChunked ? this.#takeChunks(data) : this.#takeBody(data)
  }

  answer(): Answer {
    const text = this.#kept ? Buffer.concat(this.#kept).toString() : this.#end.toString()
    return { status: this.#status, bytes: this.#bytes, instances: this.#instances, text }
  }

  #wait(data: Buffer): false {
    this.#pending = data
    return false
  }

  #readHead(head: string): void {
    const [first = '', ...lines] = head.split('\r\n')
    const headers = new Map(lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim().toLowerCase()] as const
    }))
    this.#hasHead = true
    this.#status = Number(first.split(' ')[1])
    this.#isChunked = headers.get('transfer-encoding') === 'chunked'
    const length = headers.get('content-length')
    if (!this.#isChunked) this.#left = length === undefined ? Number.POSITIVE_INFINITY : Number(length)
    this.endsWithConnection = !this.#isChunked && length === undefined
    this.mustClose = headers.get('connection') === 'close' || first.startsWith('HTTP/1.0')
  }

  #takeBody(data: Buffer): boolean {
    this.#keep(data)
    this.#left = (this.#left ?? 0) - data.length
    return this.#left <= 0
  }

  #takeChunks(data: Buffer): boolean {
    for (let rest = data; ;) {
      if (this.#left === undefined) {
        const at = rest.indexOf(LINE_END)
        if (at === -1) return this.#wait(rest)
        const size = Number.parseInt(rest.subarray(0, at).toString('latin1'), 16)
        // The last chunk is empty, and has the line end that every chunk has.
        if (size === 0 && rest.length < at + 2 * LINE_END.length) return this.#wait(rest)
        if (size === 0) return true
        this.#left = size + LINE_END.length
        rest = rest.subarray(at + LINE_END.length)
      }
      const part = rest.subarray(0, this.#left)
      this.#keep(part.subarray(0, Math.max(0, Math.min(part.length, this.#left - LINE_END.length))))
      this.#left -= part.length
      rest = rest.subarray(part.length)
      if (this.#left > 0) return false
      this.#left = undefined
    }
  }

  #keep(data: Buffer): void {
    this.#bytes += data.length
    // A tag that two parts share is found in the seam.
    const seam = Buffer.concat([this.#end.subarray(-(INSTANCE.length - 1)), data.subarray(0, INSTANCE.length - 1)])
    this.#instances += count(data) + count(seam) - count(this.#end.subarray(-(INSTANCE.length - 1)))
      - count(data.subarray(0, INSTANCE.length - 1))
    this.#end = data.length >= END_BYTES ? data.subarray(-END_BYTES) : Buffer.concat([this.#end, data]).subarray(-END_BYTES)
    if (this.#bytes > KEPT_BYTES) this.#kept = undefined
    else this.#kept?.push(data)
  }
}

function count(data: Buffer): number {
  let found = 0
  for (let at = data.indexOf(INSTANCE); at !== -1; at = data.indexOf(INSTANCE, at + INSTANCE.length)) found++
  return found
}
