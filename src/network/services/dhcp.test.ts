import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatIpv4 } from '../../core/cidr.ts'
import type { Lease } from '../driver.ts'
import {
  addressBytes, decodeDhcp, encodeDhcp, MESSAGE_TYPES, OPTIONS, readAddress, type DhcpMessage,
} from './dhcp-codec.ts'
import { answerDhcp } from './dhcp.ts'

const MAC = '0a:12:34:56:78:9a'
const LEASE: Lease = {
  address: '172.31.5.10', prefix: 20, gateway: '172.31.0.1', dns: ['172.31.0.2'], domainName: 'ec2.internal',
  hostname: 'ip-172-31-5-10', mtu: 1500, leaseSeconds: 3600,
}

function message(
  type: keyof typeof MESSAGE_TYPES,
  options: [number, Buffer][] = [],
  change: Partial<DhcpMessage> = {},
): Buffer {
  return encodeDhcp({
    op: 'request', xid: 0xdeadbeef, secs: 3, flags: 0, mac: MAC,
    ciaddr: '0.0.0.0', yiaddr: '0.0.0.0', giaddr: '0.0.0.0',
    ...change, options: new Map([[OPTIONS.messageType, Buffer.from([MESSAGE_TYPES[type]])], ...options]),
  })
}

async function answer(
  bytes: Buffer,
  lease = LEASE,
): Promise<(DhcpMessage & { to: string; type: number | undefined }) | undefined> {
  const reply = await answerDhcp(bytes, async (mac) => (mac === MAC ? lease : undefined))
  const decoded = reply && decodeDhcp(reply.bytes)
  return decoded && reply && { ...decoded, to: reply.address, type: decoded.options.get(OPTIONS.messageType)?.[0] }
}

const requested = (address: string): [number, Buffer] => [OPTIONS.requestedAddress, addressBytes(address)]
const selected = (address: string): [number, Buffer] => [OPTIONS.serverId, addressBytes(address)]

describe('the DHCP responder', () => {
  it('offers the lease, with everything a guest needs, to the leased address', async () => {
    const offer = await answer(message('discover'))
    expect(offer).toMatchObject({
      type: MESSAGE_TYPES.offer, op: 'reply', xid: 0xdeadbeef, mac: MAC, yiaddr: LEASE.address, ciaddr: '0.0.0.0',
      to: LEASE.address,
    })
    const text = (code: number) => offer?.options.get(code)?.toString()
    const number = (code: number) => offer?.options.get(code)?.readUInt32BE()
    const address = (code: number) => readAddress(offer?.options.get(code))
    expect(address(OPTIONS.serverId)).toBe('172.31.0.1')
    expect(address(OPTIONS.subnetMask)).toBe('255.255.240.0')
    expect(address(OPTIONS.router)).toBe('172.31.0.1')
    expect(address(OPTIONS.dns)).toBe('172.31.0.2')
    expect(address(OPTIONS.broadcast)).toBe('172.31.15.255')
    expect(text(OPTIONS.hostname)).toBe('ip-172-31-5-10')
    expect(text(OPTIONS.domainName)).toBe('ec2.internal')
    expect(offer?.options.get(OPTIONS.mtu)?.readUInt16BE()).toBe(1500)
    const times = [OPTIONS.leaseSeconds, OPTIONS.renewalSeconds, OPTIONS.rebindingSeconds]
    expect(times.map(number)).toEqual([3600, 1800, 3150])
    expect(offer?.options.has(OPTIONS.classlessRoutes)).toBe(false)
  })

  it('tells what else the DHCP options of the VPC say', async () => {
    const offer = await answer(message('discover'), {
      ...LEASE, dns: ['10.0.0.5', '10.0.0.6'], domainName: 'a.example b.example', ntpServers: ['10.0.0.7', '10.0.0.8'],
      netbiosServers: ['10.0.0.9'], netbiosNodeType: 2,
    })
    const bytes = (code: number) => [...(offer?.options.get(code) ?? [])]
    expect(bytes(OPTIONS.dns)).toEqual([10, 0, 0, 5, 10, 0, 0, 6])
    expect(offer?.options.get(OPTIONS.domainName)?.toString()).toBe('a.example b.example')
    expect(bytes(42)).toEqual([10, 0, 0, 7, 10, 0, 0, 8])
    expect(bytes(44)).toEqual([10, 0, 0, 9])
    expect(bytes(46)).toEqual([2])
  })

  it('leaves out what they do not say', async () => {
    const offer = await answer(message('discover'), { ...LEASE, dns: [], domainName: null })
    for (const code of [OPTIONS.dns, OPTIONS.domainName, OPTIONS.ntp, OPTIONS.netbiosServers, OPTIONS.netbiosNodeType]) {
      expect(offer?.options.has(code)).toBe(false)
    }
    expect(offer?.options.has(OPTIONS.router)).toBe(true)
  })

  it('gives routes to a client that asks for them, the default one included', async () => {
    const offer = await answer(message('discover', [[OPTIONS.parameterList, Buffer.from([1, 3, 121])]]))
    expect([...(offer?.options.get(OPTIONS.classlessRoutes) ?? [])]).toEqual([
      32, 169, 254, 169, 254, 172, 31, 0, 1, 0, 172, 31, 0, 1,
    ])
  })

  it('sends the client its own id back', async () => {
    const id = Buffer.from([255, 1, 2, 3])
    expect((await answer(message('discover', [[OPTIONS.clientId, id]])))?.options.get(OPTIONS.clientId)).toEqual(id)
  })

  it.each([
    ['selecting', [requested(LEASE.address), selected(LEASE.gateway)], '0.0.0.0'],
    ['rebooting', [requested(LEASE.address)], '0.0.0.0'],
    ['renewing', [], LEASE.address],
  ] as const)('acknowledges the address of a %s client', async (_state, options, ciaddr) => {
    expect(await answer(message('request', [...options], { ciaddr }))).toMatchObject({
      type: MESSAGE_TYPES.ack, yiaddr: LEASE.address, ciaddr, to: LEASE.address,
    })
  })

  it.each([
    ['selecting', [requested('172.31.5.11'), selected(LEASE.gateway)], '0.0.0.0'],
    ['rebooting', [requested('10.0.0.5')], '0.0.0.0'],
    ['renewing', [], '172.31.5.11'],
  ] as const)('refuses another address of a %s client, and tells it nothing else', async (_state, options, ciaddr) => {
    const nak = await answer(message('request', [...options], { ciaddr }))
    expect(nak).toMatchObject({ type: MESSAGE_TYPES.nak, yiaddr: '0.0.0.0', ciaddr: '0.0.0.0', to: LEASE.address })
    expect([...(nak?.options.keys() ?? [])]).toEqual([OPTIONS.messageType, OPTIONS.serverId])
  })

  it('informs a client that has its address, without a lease', async () => {
    const ack = await answer(message('inform', [], { ciaddr: LEASE.address }))
    expect(ack).toMatchObject({ type: MESSAGE_TYPES.ack, yiaddr: '0.0.0.0', ciaddr: LEASE.address })
    expect(ack?.options.has(OPTIONS.leaseSeconds)).toBe(false)
    expect(ack?.options.has(OPTIONS.dns)).toBe(true)
  })

  it.each([
    ['a stranger', message('discover', [], { mac: '0a:00:00:00:00:00' })],
    ['a client of another server', message('request', [requested(LEASE.address), selected('172.31.0.9')])],
    ['a request for no address', message('request')],
    ['a release', message('release', [selected(LEASE.gateway)], { ciaddr: LEASE.address })],
    ['a decline', message('decline', [requested(LEASE.address), selected(LEASE.gateway)])],
    ['a reply', message('offer', [], { op: 'reply' })],
    ['a relayed message', message('discover', [], { giaddr: '10.0.0.1' })],
    ['an INFORM with an address that is not its own', message('inform', [], { ciaddr: '172.31.5.11' })],
    ['plain BOOTP', encodeDhcp({ ...decoded(message('discover')), options: new Map() })],
  ])('does not answer %s', async (_what, bytes) => {
    expect(await answer(bytes)).toBeUndefined()
  })

  it('fails when the lease cannot be looked up, so that somebody hears of it', async () => {
    const reply = answerDhcp(message('discover'), () => Promise.reject(new Error('no database')))
    await expect(reply).rejects.toThrow('no database')
  })

  it('never fails on junk', async () => {
    const valid = message('discover', [
      [OPTIONS.parameterList, Buffer.from([1, 3, 121])], [OPTIONS.clientId, Buffer.alloc(7)],
    ])
    const damaged = fc.tuple(fc.nat(valid.length - 1), fc.uint8Array({ maxLength: 20 }), fc.nat(valid.length)).map(
      ([at, bytes, cut]) =>
        Buffer.concat([valid.subarray(0, at), bytes, valid.subarray(at + bytes.length)]).subarray(0, cut))
    const options = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.concat([valid.subarray(0, 240), bytes]))
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 700 }).map((each) => Buffer.from(each)), damaged, options)
    await fc.assert(fc.asyncProperty(bytes, async (junk) => {
      const reply = await answerDhcp(junk, async () => LEASE)
      if (reply) expect(decodeDhcp(reply.bytes)?.op).toBe('reply')
    }), { numRuns: 500 })
  })
})

describe('the DHCP codec', () => {
  it('reads what it writes', () => {
    const address = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(formatIpv4)
    const mac = fc.uint8Array({ minLength: 6, maxLength: 6 })
      .map((bytes) => Buffer.from(bytes).toString('hex').replace(/..(?=.)/g, '$&:'))
    const options = fc.array(fc.tuple(
      fc.integer({ min: 1, max: 254 }), fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes)),
    ), { maxLength: 10 }).map((entries) => new Map(entries))
    const any = fc.record({
      op: fc.constantFrom('request' as const, 'reply' as const), xid: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      secs: fc.nat(65_535), flags: fc.nat(65_535), ciaddr: address, yiaddr: address, giaddr: address, mac, options,
    })
    fc.assert(fc.property(any, (each) => {
      const bytes = encodeDhcp(each)
      expect(bytes.length).toBeGreaterThanOrEqual(300)
      expect(decodeDhcp(bytes)).toEqual(each)
    }))
  })

  it('reads options without an end mark, but none that are cut short', () => {
    const head = message('discover').subarray(0, 240)
    expect(decodeDhcp(Buffer.concat([head, Buffer.from([0, 53, 1, 1])]))?.options.size).toBe(1)
    expect(decodeDhcp(Buffer.concat([head, Buffer.from([53, 9, 1])]))).toBeUndefined()
    expect(decodeDhcp(Buffer.concat([head, Buffer.from([53])]))).toBeUndefined()
  })
})

function decoded(bytes: Buffer): DhcpMessage {
  const found = decodeDhcp(bytes)
  if (!found) throw new Error('not a DHCP message')
  return found
}
