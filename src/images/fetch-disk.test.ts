import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../core/clock.ts'
import { findChecksum, readChecksum, type Checksum } from './checksum.ts'
import { fetchDisk, nameOf, parseSource, readText } from './fetch-disk.ts'
import { compressionOf, unpack } from './unpack.ts'

const MIB = 1024 ** 2
let folder: string
let server: Server
let origin: string
let work: string
const at = (...names: string[]) => path.join(folder, ...names)
/** Mostly zeros, as disks are, and not a whole number of blocks. */
const disk = Buffer.alloc(5 * MIB + 512)
disk.write('begins', 0)
disk.write('middle', 3 * MIB)
disk.write('ends', disk.length - 10)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const checksum = (bytes: Uint8Array): Checksum => ({ algorithm: 'sha256', hex: sha256(bytes) })

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-fetch-'))
  writeFileSync(at('disk.raw'), disk)
  writeFileSync(at('disk.raw.gz'), gzipSync(disk))
  execFileSync('xz', ['-0k', at('disk.raw')])
  writeFileSync(at('SHA256SUMS'), `${sha256(disk)} *disk.raw\n`)
  symlinkSync(at('disk.raw'), at('link.raw'))
  server = createServer((request, response) => {
    const name = path.basename(request.url ?? '')
    if (name === 'moved') return response.writeHead(302, { location: '/disk.raw' }).end()
    if (name === 'cut') {
      response.writeHead(200, { 'content-length': disk.length })
      return response.write(disk.subarray(0, MIB), () => response.destroy())
    }
    if (name === 'vast') return response.writeHead(200, { 'content-length': 2 ** 52 }).end('x')
    if (name === 'secret') return response.writeHead(403).end('no')
    if (name === 'chunked') return response.writeHead(200).end(disk)
    return response.end(readFileSync(at(name)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => {
  work = at('work')
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work)
})

const lines: string[] = []
const fetched = (given: string, sum: Checksum | null = null) =>
  fetchDisk(parseSource(given), { clock: systemClock, work, checksum: sum, progress: (line) => void lines.push(line) })
const failure = (given: string, sum: Checksum | null = null) => fetched(given, sum).then(() => 'none', (error: Error) => error.message)

describe('a disk is fetched', () => {
  it('from an address, also one that has moved', async () => {
    for (const name of ['disk.raw', 'moved', 'chunked']) {
      const file = await fetched(`${origin}/${name}`, checksum(disk))
      expect(readFileSync(file).equals(disk), name).toBe(true)
      rmSync(file)
    }
    expect(lines.join('\n')).toContain(`downloading ${origin}/disk.raw (6 MiB)`)
  })

  it('from a file of this machine, which stays as it is, also through a link', async () => {
    for (const given of [at('disk.raw'), at('link.raw'), `file://${at('disk.raw')}`, path.relative('.', at('disk.raw'))]) {
      const file = await fetched(given, checksum(disk))
      expect(readFileSync(file).equals(disk)).toBe(true)
      expect(statSync(file).isFile()).toBe(true)
      rmSync(file)
    }
    expect(readFileSync(at('disk.raw')).equals(disk)).toBe(true)
  })

  it.each(['disk.raw.gz', 'disk.raw.xz'])('and unpacked: %s, zeros as holes', async (name) => {
    for (const given of [at(name), `${origin}/${name}`]) {
      const file = await fetched(given, checksum(readFileSync(at(name))))
      expect(readFileSync(file).equals(disk)).toBe(true)
      expect(statSync(file).blocks * 512).toBeLessThan(MIB)
      expect(readdirSync(work)).toEqual(['disk'])
      rmSync(file)
    }
  })

  it('or not, with a reason', async () => {
    expect(await failure(`${origin}/secret`)).toBe(`${origin}/secret cannot be downloaded: the server answers 403 Forbidden`)
    expect(await failure(`${origin}/cut`)).toMatch(/^the download of .*cut broke off after \d+ bytes: /)
    expect(await failure(`${origin}/vast`)).toMatch(/^there is no room in .* for the \d+ MiB of /)
    expect(await failure('http://127.0.0.1:1/disk')).toMatch(/^http:.* cannot be downloaded: ./)
    expect(await failure(at('absent'))).toBe(`there is no file ${at('absent')}`)
    expect(await failure(folder)).toBe(`${folder} is not a plain file`)
    expect(await failure('/dev/null')).toBe('/dev/null is not a plain file')
    expect(() => parseSource('ftp://h/disk')).toThrow(/disks come from files and from http/)
    const wrong: Checksum = { algorithm: 'sha256', hex: '0'.repeat(64) }
    for (const given of [at('disk.raw'), `${origin}/disk.raw`]) {
      rmSync(path.join(work, 'fetched'), { force: true })
      expect(await failure(given, wrong))
        .toBe(`${given} is not what it should be: its sha256 is ${sha256(disk)}, not ${wrong.hex}`)
    }
  })

  it('and not unpacked where it is cut off, or is too large for where it goes', async () => {
    for (const name of ['disk.raw.gz', 'disk.raw.xz']) {
      writeFileSync(at(`cut-${name}`), readFileSync(at(name)).subarray(0, -20))
      expect(await failure(at(`cut-${name}`)), name).toMatch(/cannot be unpacked: /)
      rmSync(work, { recursive: true })
      mkdirSync(work)
      const kind = await compressionOf(at(name))
      if (!kind) throw new Error('not compressed')
      await expect(unpack(at(name), kind, path.join(work, 'small'), { mostWrittenBytes: 100_000, onBytes: () => {} }))
        .rejects.toThrow(/there is no room for it: only 100000 bytes/)
      rmSync(path.join(work, 'small'))
    }
  })
})

describe('a checksum', () => {
  const read = (where: string, most: number) => readText(where, most, systemClock)

  it('is given as digits or as a list that names the file', async () => {
    const hex = sha256(disk)
    expect(await readChecksum('sha256', hex.toUpperCase(), 'x', read)).toEqual({ algorithm: 'sha256', hex })
    for (const list of [`${origin}/SHA256SUMS`, at('SHA256SUMS')]) {
      expect(await readChecksum('sha256', list, 'disk.raw', read)).toEqual({ algorithm: 'sha256', hex })
    }
    await expect(readChecksum('sha256', at('SHA256SUMS'), 'other', read)).rejects.toThrow(/names no sha256 of other/)
    await expect(readChecksum('sha256', 'abc', 'x', read)).rejects.toThrow('--sha256 has 64 digits, not 3')
    await expect(readChecksum('sha256', at('absent'), 'x', read)).rejects.toThrow(/cannot read/)
    await expect(readText(at('disk.raw'), 100, systemClock)).rejects.toThrow(/too large/)
    await expect(readText(`${origin}/disk.raw`, 100, systemClock)).rejects.toThrow(/too large/)
  })

  it('is found as either kind of program writes it', () => {
    const [a, b] = ['a'.repeat(64), 'B'.repeat(64)]
    const list = `# comment\n${a}  one.img\nSHA256 (two words.img) = ${b}\nMD5 (one.img) = ${'c'.repeat(64)}\n${a} *./three.img\r\nshort  four.img\n`
    expect(['one.img', 'two words.img', 'three.img', 'four.img', 'five.img'].map((name) => findChecksum('sha256', list, name)))
      .toEqual([a, b.toLowerCase(), a, undefined, undefined])
    expect(findChecksum('sha512', `${a}  one.img`, 'one.img')).toBeUndefined()
  })

  it('is of the file as it is named at its address', () => {
    expect(nameOf(parseSource('https://h/a/noble%20server.img?x=1'))).toBe('noble server.img')
    expect(nameOf(parseSource('/a/b.img'))).toBe('b.img')
  })
})
