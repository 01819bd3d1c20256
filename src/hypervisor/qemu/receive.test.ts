import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, type Clock } from '../../core/clock.ts'
import { systemRandom as random } from '../../core/random.ts'
import { MEMORY_SOCKET } from './folder.ts'
import { openMemoryFile } from './memory-file.ts'
import { receiveMemory } from './receive.ts'

const image = { memoryId: 'mem-1', key: random.bytes(32).toString('base64'), binding: 'these disks' }
let folder: string
let file: string
let socket: Socket
/** Nobody is at the other end of that any more. */
let closed: Promise<unknown>
/** What the only QEMU here answers when it is asked how far it is. */
let status: () => string
/** What it does when it is told to send. */
let send: () => unknown

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-receive-'))
  file = join(folder, 'part')
  status = () => 'active'
  send = () => {}
})
afterEach(() => {
  socket.destroy()
  rmSync(folder, { recursive: true })
})

async function connected(): Promise<void> {
  socket = connect(join(folder, MEMORY_SOCKET)).on('error', () => {})
  closed = once(socket.resume(), 'close')
  await once(socket, 'connect')
}

async function execute(command: string): Promise<unknown> {
  if (command === 'query-migrate') return { status: status() }
  if (command !== 'migrate') return undefined
  await connected()
  return send()
}

/** Each look takes so long by that clock. */
function clockOf(lookMs: number): Clock {
  let nowMs = 0
  return {
    ...systemClock,
    now: () => nowMs,
    sleep: (delayMs, signal) => {
      nowMs += lookMs
      return systemClock.sleep(Math.min(delayMs, 1), signal)
    },
  }
}

function receive({ lookMs = 10, signal, run = execute }: { lookMs?: number; signal?: AbortSignal; run?: typeof execute } = {}): Promise<void> {
  return receiveMemory({ qemu: { execute: run, folder, uid: null }, clock: clockOf(lookMs), random }, file, image, {}, signal)
}

async function received(): Promise<string> {
  const opened = await openMemoryFile(file, image)
  const chunks: Buffer[] = []
  for await (const chunk of opened!.chunks()) chunks.push(Buffer.from(chunk))
  await opened!.close()
  return Buffer.concat(chunks).toString()
}

describe('the memory that QEMU sends', () => {
  test('is taken until it has sent all and it is written, also by a host that slept for hours meanwhile', async () => {
    let looks = 0
    status = () => {
      if (++looks === 10) socket.end('of the guest')
      return looks > 10 ? 'completed' : 'active'
    }
    send = () => socket.write('memory ')
    await receive({ lookMs: 3_600_000 })
    expect(await received()).toBe('memory of the guest')
    expect(readdirSync(folder)).toEqual(['part'])
  })

  test.each(['active', 'completed'])('is given up when nothing comes for a minute, and QEMU says "%s"', async (said) => {
    status = () => said
    send = () => socket.write('memory')
    await expect(receive({ lookMs: 1000 })).rejects.toThrow('does not send')
    await closed
  })

  test('is not taken when QEMU says that it cannot send it', async () => {
    status = () => 'failed'
    await expect(receive()).rejects.toThrow('could not send')
    await closed
  })

  test('is not taken any more once that is aborted', async () => {
    const [aborting, why] = [new AbortController(), new Error('its devices are to change')]
    let looks = 0
    status = () => {
      if (++looks === 3) aborting.abort(why)
      return 'active'
    }
    send = () => socket.write('memory')
    await expect(receive({ signal: aborting.signal })).rejects.toBe(why)
    await closed
  })

  test('is not taken, nor a file begun, when QEMU connects only after it was given up', async () => {
    const aborting = new AbortController()
    const run = async (command: string) => {
      if (command !== 'migrate') return undefined
      aborting.abort(new Error('given up'))
      await connected()
      await closed
      throw new Error('its connection is closed')
    }
    await expect(receive({ signal: aborting.signal, run })).rejects.toThrow('given up')
    expect(readdirSync(folder)).toEqual([])
  })
})
