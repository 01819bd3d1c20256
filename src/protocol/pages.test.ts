import * as ec2 from '@aws-sdk/client-ec2'
import { NormalizedSchema } from '@smithy/core/schema'
import fc from 'fast-check'
import { connect, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { answer as answerDirection, randomValue } from '../../test/property/protocol-generator.ts'
import { systemClock, waitFor } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { systemRandom } from '../core/random.ts'
import { permissiveAuthenticator } from './authenticator.ts'
import { encodeOutput, encodePages, hasPages } from './encode.ts'
import { loadServiceModel, type Operation } from './model.ts'
import { createApiServer, type ApiServer } from './server.ts'

const model = loadServiceModel('ec2')
const operation = (name: string) => model.operation(name) as Operation

async function* pagesOf<T>(...pages: T[][]): AsyncGenerator<T[]> {
  yield* pages
}

async function whole(pieces: AsyncIterable<string>): Promise<string> {
  let text = ''
  for await (const piece of pieces) text += piece
  return text
}

describe('encodePages', () => {
  it.each(['DescribeInstances', 'DescribeVolumes', 'DescribeTags'])('writes what encodeOutput writes: %s', async (name) => {
    const schemas = (ec2 as Record<string, unknown>)[`${name}$`] as unknown[]
    await fc.assert(fc.asyncProperty(fc.gen(), fc.integer({ min: 1, max: 4 }), async (g, size) => {
      const output = randomValue(g, NormalizedSchema.of(schemas[5] as never), answerDirection) as Record<string, unknown>
      const paged = Object.fromEntries(Object.entries(output).map(([key, value]) => {
        if (!Array.isArray(value)) return [key, value]
        const pages = Array.from({ length: Math.ceil(value.length / size) }, (_none, page) =>
          value.slice(page * size, (page + 1) * size))
        return [key, pagesOf(...pages, [])]
      }))
      expect(await whole(encodePages(model, operation(name), paged, 'r'))).toBe(encodeOutput(model, operation(name), output, 'r'))
    }), { numRuns: 30 })
  })

  it('makes pieces of a long item', async () => {
    const Instances = Array.from({ length: 3000 }, (_none, index) => ({ InstanceId: `i-${index}`, ImageId: 'x'.repeat(100) }))
    const output = { Reservations: pagesOf([{ ReservationId: 'r-1', Instances }]) }
    const lengths: number[] = []
    for await (const piece of encodePages(model, operation('DescribeInstances'), output, 'r')) lengths.push(piece.length)
    expect(lengths.length).toBeGreaterThan(3)
    expect(Math.max(...lengths)).toBeLessThan(150_000)
  })

  it('refuses what does not fit', async () => {
    const output = { Reservations: pagesOf([{ Instances: [{ InstanceId: 1 }] }]) }
    await expect(whole(encodePages(model, operation('DescribeInstances'), output, 'r')))
      .rejects.toThrow('DescribeInstances.Reservations[].Instances[].InstanceId must be a string, not number')
    expect([hasPages(output), hasPages({ Reservations: [], NextToken: undefined })]).toEqual([true, false])
  })
})

describe('an answer that comes bit by bit', () => {
  let server: ApiServer
  let port: number
  let output: () => object
  const sockets: Socket[] = []

  beforeEach(async () => {
    server = createApiServer({
      authenticator: permissiveAuthenticator, dispatch: async () => output(), supports: () => true, clock: systemClock,
      random: systemRandom, log: silentLogger,
    })
    port = await server.listen(0, '127.0.0.1')
  })
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    await server.close()
  })

  const ask = () => fetch(`http://127.0.0.1:${port}/?Action=DescribeInstances`)
  const page = (text: string) => [{ ReservationId: text }]

  it('arrives whole, without a length', async () => {
    output = () => ({ Reservations: pagesOf(page('r-1'), page('r-2')) })
    const answer = await ask()
    expect([answer.status, answer.headers.get('content-length')]).toEqual([200, null])
    expect(await answer.text()).toContain('<reservationId>r-1</reservationId></item><item><reservationId>r-2</reservationId>')
    output = () => ({ Reservations: [] })
    expect((await ask()).headers.get('content-length')).toMatch(/^\d+$/)
  })

  it('is whole without sockets, too', async () => {
    output = () => ({ Reservations: pagesOf(page('r-1'), page('r-2')) })
    const answer = await server.handle({
      method: 'GET', url: '/?Action=DescribeInstances', headers: {}, body: Buffer.alloc(0),
    })
    expect(answer.body).toMatch(/r-1.*r-2.*<\/DescribeInstancesResponse>$/s)
  })

  it('breaks off when a page fails: nobody takes it for a whole one', async () => {
    output = () => ({
      Reservations: (async function* () {
        yield page('x'.repeat(300_000))
        throw new Error('the database is gone')
      })(),
    })
    await expect(ask().then((answer) => answer.text())).rejects.toThrow(/terminated|fetch failed/)
  })

  it('waits for a slow reader, and ends when the reader is gone', async () => {
    let made = 0
    let isEnded = false
    output = () => ({
      Reservations: (async function* () {
        try {
          for (;;) {
            made++
            yield page('x'.repeat(200_000))
          }
        } finally {
          isEnded = true
        }
      })(),
    })
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.write('GET /?Action=DescribeInstances HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
    socket.pause()
    let last = -1
    await waitFor(systemClock, 'the server to wait', 20_000, () => {
      const isStill = made > 0 && made === last
      last = made
      return isStill
    }, 300)
    const waited = made
    socket.resume()
    await waitFor(systemClock, 'the server to go on', 20_000, () => made > waited + 20)
    socket.destroy()
    await waitFor(systemClock, 'the server to end', 20_000, () => isEnded)
  })
})
