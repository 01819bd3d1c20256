import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { answerNtp } from './ntp.ts'

const RECEIVED_MS = Date.UTC(2026, 0, 1) + 250
const SENT_MS = RECEIVED_MS + 3
/** 2026-01-01T00:00:00Z in seconds since 1900. */
const SECONDS = 3_976_214_400

const COOKIE = Buffer.from('0123456789abcdef', 'hex')
/** What a client of that version sends, with a random transmit timestamp as newer ones do. */
function request(version: number, mode = 3, bytes = 48): Buffer {
  const message = Buffer.alloc(bytes)
  message.writeUInt8((version << 3) | mode, 0)
  message.writeUInt8(6, 2)
  COOKIE.copy(message, 40)
  return message
}
const answer = (message: Buffer, receivedMs = RECEIVED_MS) => answerNtp(message, receivedMs, () => SENT_MS)

describe('the time server', () => {
  it("answers with the host's time, when the request came and when the answer goes", () => {
    const reply = answer(request(4))
    expect(reply?.length).toBe(48)
    expect(reply?.subarray(24, 32)).toEqual(COOKIE)
    expect([reply?.readUInt32BE(32), reply?.readUInt32BE(36)]).toEqual([SECONDS, 2 ** 30])
    expect(reply?.readUInt32BE(40)).toBe(SECONDS)
    expect((reply?.readUInt32BE(44) ?? 0) / 2 ** 32).toBeCloseTo(0.253, 6)
  })

  it('says that it passes on a clock of which it knows nothing', () => {
    const reply = answer(request(4))
    expect(reply?.readUInt8(0)).toBe((4 << 3) | 4)
    expect([reply?.readUInt8(1), reply?.readUInt8(2), reply?.readInt8(3)]).toEqual([10, 6, -10])
    expect([...(reply?.subarray(12, 16) ?? [])]).toEqual([127, 127, 1, 1])
    expect((reply?.readUInt32BE(8) ?? 0) / 65_536).toBeCloseTo(0.01, 3)
    // Not younger than the answer itself, which clients check.
    expect(reply?.readUInt32BE(16)).toBe(SECONDS)
  })

  it.each([1, 2, 3, 4])('speaks version %i to who speaks it', (version) => {
    expect(answer(request(version))?.readUInt8(0)).toBe((version << 3) | 4)
  })

  it('leaves extensions and keys out', () => {
    expect(answer(request(4, 3, 68))?.length).toBe(48)
  })

  it('goes on counting in the next era, from 2036', () => {
    const reply = answer(request(4), Date.UTC(2036, 1, 7, 6, 28, 17))
    expect(reply?.readUInt32BE(32)).toBe(1)
  })

  it.each([
    ['an answer', request(4, 4)], ['a broadcast', request(4, 5)], ['a control message', request(2, 6)],
    ['a symmetric peer', request(4, 1)], ['a version that is none', request(0)], ['a version to come', request(5)],
    ['a short message', request(4, 3, 47)], ['nothing', Buffer.alloc(0)],
  ])('does not answer %s', (_what, message) => {
    expect(answer(message)).toBeUndefined()
  })

  it('never fails on junk', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const reply = answer(Buffer.from(bytes))
      if (reply) expect(reply.length).toBeLessThanOrEqual(bytes.length)
    }))
  })
})
