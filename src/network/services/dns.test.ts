import dgram from 'node:dgram'
import net, { type AddressInfo } from 'node:net'
import dnsPacket from 'dns-packet'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { seededRandom } from '../../core/random.ts'
import { answerDns, type DnsSources } from './dns.ts'
import { createForwarder, frame, hostResolvers, readFrames } from './forwarder.ts'

const NAME = 'ip-172-31-5-10.ec2.internal'
const ADDRESS = '172.31.5.10'
const PUBLIC_NAME = 'ec2-198-18-0-9.compute-1.amazonaws.com'

const sources = (change: Partial<DnsSources> = {}): DnsSources => ({
  resolveName: async (name) => (name === NAME || name === PUBLIC_NAME ? ADDRESS : undefined),
  resolveAddress: async (address) => (address === ADDRESS ? NAME : undefined),
  forward: async () => undefined,
  onError: () => {},
  ...change,
})

function query(type: dnsPacket.RecordType | 'ANY', name: string, extra: Partial<dnsPacket.Packet> = {}): Buffer {
  return dnsPacket.encode({
    type: 'query', id: 4711, flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: type as dnsPacket.RecordType, name }], ...extra,
  })
}

async function ask(message: Buffer, from = sources()) {
  const reply = await answerDns(message, from)
  if (!reply) throw new Error('no reply')
  const { id, rcode, flag_aa: isOwn, flag_ra: recurses, answers, authorities, additionals, questions } =
    dnsPacket.decode(reply) as dnsPacket.DecodedPacket & { rcode: string }
  const data = (answers ?? []).map((each) => ('data' in each ? each.data : undefined))
  return { id, rcode, isOwn, recurses, data, authorities, additionals, questions, reply }
}

describe('the resolver', () => {
  it('knows the addresses of our names and the names of our addresses', async () => {
    expect(await ask(query('A', NAME))).toMatchObject({
      id: 4711, rcode: 'NOERROR', isOwn: true, recurses: true, data: [ADDRESS],
    })
    expect((await ask(query('A', PUBLIC_NAME))).data).toEqual([ADDRESS])
    expect((await ask(query('ANY', NAME))).data).toEqual([ADDRESS])
    expect((await ask(query('PTR', '10.5.31.172.in-addr.arpa'))).data).toEqual([NAME])
  })

  it('takes names in any case and repeats the question as it was', async () => {
    const message = query('A', NAME.toUpperCase())
    const answer = await ask(message)
    expect(answer.data).toEqual([ADDRESS])
    expect(answer.reply.subarray(12, message.length)).toEqual(message.subarray(12))
  })

  it.each([
    ['AAAA', NAME], ['TXT', NAME], ['AAAA', PUBLIC_NAME], ['A', 'ec2.internal'], ['A', '10.5.31.172.in-addr.arpa'],
    ['A', 'eu-west-1.compute.internal'], ['PTR', '5.31.172.in-addr.arpa'], ['SOA', '10.in-addr.arpa'],
  ] as const)(
    'says that there is no %s of %s, though the name exists', async (type, name) => {
      const answer = await ask(query(type, name))
      expect(answer).toMatchObject({ rcode: 'NOERROR', isOwn: true, data: [] })
      expect(answer.authorities).toMatchObject([{ type: 'SOA' }])
    })

  it.each([
    ['A', 'ip-172-31-5-11.ec2.internal'], ['A', 'ec2-198-18-0-8.compute-1.amazonaws.com'],
    ['AAAA', 'ec2-10-0-0-8.eu-west-1.compute.amazonaws.com'], ['A', 'x.eu-west-1.compute.internal'], ['PTR', '11.5.31.172.in-addr.arpa'],
  ] as const)('says that there is nothing at all: %s of %s', async (type, name) => {
    const answer = await ask(query(type, name), sources({ forward: () => Promise.reject(new Error('asked outside')) }))
    expect(answer).toMatchObject({ rcode: 'NXDOMAIN', isOwn: true, data: [] })
    expect(answer.authorities).toMatchObject([{ type: 'SOA' }])
  })

  it.each(['example.org', 'notec2.internal', 'amazonaws.com', '8.8.8.8.in-addr.arpa', '.',
    'ec2-54-0-0-1.compute-1.amazonaws.com', 'ec2-300-18-0-8.compute-1.amazonaws.com',
    '172.in-addr.arpa', '300.10.in-addr.arpa'])(
    'asks outside for %s, with the query as it came', async (name) => {
      const message = query('A', name)
      const outer = Buffer.from('whatever the outer resolver says')
      const from = sources({ forward: async (sent) => (sent.equals(message) ? outer : undefined) })
      expect(await answerDns(message, from)).toBe(outer)
    })

  it('fails when nobody outside answers', async () => {
    expect(await ask(query('A', 'example.org'))).toMatchObject({ id: 4711, rcode: 'SERVFAIL' })
  })

  it('fails, and says so, when the database is away', async () => {
    const errors: string[] = []
    const broken = sources({
      resolveName: () => Promise.reject(new Error('no database')),
      onError: (error) => void errors.push(error),
    })
    expect((await ask(query('A', NAME), broken)).rcode).toBe('SERVFAIL')
    expect(errors).toEqual(['no database'])
  })

  it('speaks EDNS to who speaks it', async () => {
    const opt: dnsPacket.OptAnswer = {
      type: 'OPT', name: '.', udpPayloadSize: 4096, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false,
      options: [],
    }
    const answer = await ask(query('A', NAME, { additionals: [opt] }))
    expect(answer.additionals).toMatchObject([{ type: 'OPT' }])
    expect((await ask(query('A', NAME))).additionals).toEqual([])
  })

  it('refuses what it does not understand', async () => {
    const two = query('A', NAME, { questions: [{ type: 'A', name: NAME }, { type: 'AAAA', name: NAME }] })
    expect((await ask(two)).rcode).toBe('FORMERR')
    expect((await ask(query('A', NAME, { questions: [] }))).rcode).toBe('FORMERR')
    const notify = query('A', NAME)
    notify.writeUInt8(notify.readUInt8(2) | (4 << 3), 2)
    expect((await ask(notify)).rcode).toBe('NOTIMP')
    const chaos = query('TXT', '', { questions: [{ type: 'TXT', name: 'version.bind', class: 'CH' }] })
    expect((await ask(chaos)).rcode).toBe('NOTIMP')
  })

  it('does not answer answers', async () => {
    const reply = query('A', NAME)
    reply.writeUInt8(reply.readUInt8(2) | 0x80, 2)
    expect(await answerDns(reply, sources())).toBeUndefined()
  })

  it('never fails on junk, and always repeats its id', async () => {
    const valid = query('A', NAME)
    const damaged = fc.tuple(fc.nat(valid.length - 1), fc.uint8Array({ maxLength: 8 })).map(([at, bytes]) =>
      Buffer.concat([valid.subarray(0, at), bytes, valid.subarray(at + bytes.length)]))
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 600 }).map((each) => Buffer.from(each)), damaged)
    await fc.assert(fc.asyncProperty(bytes, async (junk) => {
      const reply = await answerDns(junk, sources())
      if (!reply) return
      expect(reply.subarray(0, 2)).toEqual(junk.subarray(0, 2))
      expect(dnsPacket.decode(reply).type).toBe('response')
    }), { numRuns: 1000 })
  })
})

const forwarderTo = (...servers: string[]) =>
  createForwarder({ clock: systemClock, random: seededRandom(1), servers: () => servers })
const response = (message: Buffer, change: Partial<dnsPacket.Packet> = {}) => {
  const { id, questions } = dnsPacket.decode(message)
  return dnsPacket.encode({ type: 'response', id: id ?? 0, questions: questions ?? [], ...change })
}

describe('the forwarder', () => {
  const closing: (() => void)[] = []
  afterEach(() => {
    for (const close of closing.splice(0)) close()
  })

  async function udpServer(replies: (message: Buffer) => Buffer[]): Promise<string> {
    const socket = dgram.createSocket('udp4')
    socket.on('message', (message, from) => {
      for (const reply of replies(message)) socket.send(reply, from.port, from.address)
    })
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
    closing.push(() => socket.close())
    return `127.0.0.1:${socket.address().port}`
  }

  it('asks with an id of its own and answers with that of the guest', async () => {
    const ids: number[] = []
    const server = await udpServer((message) => {
      ids.push(message.readUInt16BE(0))
      return [response(message)]
    })
    const forwarder = forwarderTo(server)
    for (let n = 0; n < 3; n++) {
      expect((await forwarder.ask(query('A', 'a.example'), 'udp'))?.readUInt16BE(0)).toBe(4711)
    }
    expect(new Set(ids).size).toBe(3)
  })

  it('believes only a reply with its id and its question', async () => {
    const other = { questions: [{ type: 'A' as const, name: 'evil.example' }] }
    const server = await udpServer((message) => [
      response(message, { id: message.readUInt16BE(0) ^ 1 }), response(message, other), message, Buffer.from('junk'),
      response(message),
    ])
    const answer = await forwarderTo(server).ask(query('A', 'a.example'), 'udp')
    expect(answer && dnsPacket.decode(answer)).toMatchObject({ type: 'response', questions: [{ name: 'a.example' }] })
  })

  it('asks the next server when one does not answer or does not exist', async () => {
    const silent = await udpServer(() => [])
    const talking = await udpServer((message) => [response(message)])
    // Nobody listens on port 1.
    expect(await forwarderTo('127.0.0.1:1', silent, talking).ask(query('A', 'a.example'), 'udp')).toBeDefined()
  })

  it('asks over TCP who asked over TCP', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      readFrames(socket, (message) => {
        // In two parts, as a network may deliver it.
        const bytes = frame(response(message))
        socket.write(bytes.subarray(0, 5), () => socket.write(bytes.subarray(5)))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const answer = await forwarderTo('127.0.0.1:1', `127.0.0.1:${port}`).ask(query('A', 'a.example'), 'tcp')
    expect(answer?.readUInt16BE(0)).toBe(4711)
  })

  it('gives up without servers, and when it is told to', async () => {
    expect(await forwarderTo().ask(query('A', 'a.example'), 'udp')).toBeUndefined()
    const forwarder = forwarderTo(await udpServer(() => []))
    const asked = forwarder.ask(query('A', 'a.example'), 'udp')
    forwarder.cancelAll()
    const begunMs = Date.now()
    expect(await asked).toBeUndefined()
    expect(Date.now() - begunMs).toBeLessThan(1000)
  })

  it('has only so many queries under way', async () => {
    const forwarder = forwarderTo(await udpServer(() => []))
    const asked = Array.from({ length: 256 }, () => forwarder.ask(query('A', 'a.example'), 'udp'))
    const begunMs = Date.now()
    expect(await forwarder.ask(query('A', 'a.example'), 'udp')).toBeUndefined()
    expect(Date.now() - begunMs).toBeLessThan(1000)
    forwarder.cancelAll()
    await Promise.all(asked)
  })

  it('knows the resolvers of the host, and none where there is no such file', () => {
    expect(hostResolvers('/nonexistent/resolv.conf')).toEqual([])
    expect(hostResolvers().every((address) => net.isIP(address) > 0)).toBe(true)
  })
})
