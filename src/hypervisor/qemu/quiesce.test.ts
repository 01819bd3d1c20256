import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, type Clock } from '../../core/clock.ts'
import { ensureThawed, whileQuiesced } from './quiesce.ts'

let folder: string
let server: Server | undefined
let isFrozen: boolean
let asked: string[]
const sockets: Socket[] = []

/** As qemu-guest-agent behaves; `answers` replaces what it would do with its own. */
async function agent(answers: Record<string, (say: (text: string) => void) => void> = {}): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket)
    socket.setEncoding('latin1')
    const say = (text: string) => void socket.write(text, 'latin1')
    socket.on('data', (text: string) => {
      if (text.includes('\xff')) say(`{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\xff'"}}\n`)
      for (const line of text.split('\n').filter((each) => each !== '')) {
        const { execute, arguments: args } = JSON.parse(line.slice(line.lastIndexOf('\xff') + 1)) as { execute: string; arguments?: { id: number } }
        asked.push(execute)
        const own = answers[execute]
        if (own) own(say)
        else if (execute === 'guest-sync-delimited') say(`\xff{"return": ${args?.id}}\n`)
        else say(`{"return": ${JSON.stringify(act(execute))}}\n`)
      }
    })
  })
  await new Promise<void>((resolve) => server?.listen(join(folder, 'qga.sock'), resolve))
}

function act(command: string): unknown {
  if (command === 'guest-fsfreeze-status') return isFrozen ? 'frozen' : 'thawed'
  isFrozen = command === 'guest-fsfreeze-freeze'
  return 2
}

/** A clock on which every deadline is over at once. */
const hasty: Clock = { ...systemClock, after: (delayMs, run) => systemClock.after(delayMs / 50, run) }
const seen: boolean[] = []
const qemu = (isOpen = true) => (
  { execute: async () => [{ label: 'serial0', 'frontend-open': true }, { label: 'qga', 'frontend-open': isOpen }], folder, uid: null })
const quiesced = (clock = systemClock, isOpen = true) => whileQuiesced(qemu(isOpen), clock, async () => void seen.push(isFrozen))

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-agent-'))
  isFrozen = false
  asked = []
  seen.length = 0
})
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  server?.close()
  server = undefined
  rmSync(folder, { recursive: true })
})

describe('a guest with an agent', () => {
  test('has its file systems frozen for a moment', async () => {
    await agent()
    expect(await quiesced()).toBe(true)
    expect([seen, isFrozen]).toEqual([[true], false])
  })

  test('goes on also when something fails meanwhile', async () => {
    await agent()
    const failing = whileQuiesced(qemu(), systemClock, () => Promise.reject(new Error('no room')))
    await expect(failing).rejects.toThrow('no room')
    expect(isFrozen).toBe(false)
  })

  test('goes on when an earlier call has left it frozen, which counts', async () => {
    await agent()
    isFrozen = true
    expect(await quiesced()).toBe(true)
    expect([seen, isFrozen]).toEqual([[true], false])
    expect(asked).not.toContain('guest-fsfreeze-freeze')
  })

  test('is only let go on when there is nothing else to do', async () => {
    await agent()
    isFrozen = true
    expect([await ensureThawed(qemu(), systemClock), isFrozen]).toEqual([true, false])
    expect(await ensureThawed(qemu(), systemClock)).toBe(false)
    expect(await ensureThawed(qemu(false), systemClock)).toBe(false)
    expect(asked).not.toContain('guest-fsfreeze-freeze')
  })

  test('is not waited for where its channel is closed, or nobody answers', async () => {
    await agent({ 'guest-sync-delimited': () => {} })
    expect(await quiesced(systemClock, false)).toBe(false)
    expect(asked).toEqual([])
    expect(await quiesced(hasty)).toBe(false)
    expect([seen, asked]).toEqual([[false, false], ['guest-sync-delimited']])
  })

  test('is not quiesced when it cannot freeze, or not in time; and is asked to go on', async () => {
    await agent({ 'guest-fsfreeze-freeze': (say) => say('{"error": {"class": "GenericError", "desc": "busy"}}\n') })
    expect(await quiesced()).toBe(false)
    server?.close()
    await agentAgain({ 'guest-fsfreeze-freeze': () => void (isFrozen = true) })
    expect(await quiesced(hasty)).toBe(false)
    expect([seen, isFrozen]).toEqual([[false, true], false])
  })

  test('is not quiesced, nor asked again, when its agent does not know what that is', async () => {
    const unknown = (say: (text: string) => void) => say('{"error": {"class": "CommandNotFound", "desc": "not found"}}\n')
    await agent({ 'guest-fsfreeze-status': unknown, 'guest-fsfreeze-freeze': unknown, 'guest-fsfreeze-thaw': unknown })
    expect([await quiesced(), seen]).toEqual([false, [false]])
    expect(await ensureThawed(qemu(), systemClock)).toBe(false)
    expect(asked).not.toContain('guest-fsfreeze-thaw')
  })

  test('that never says that it goes on is an error: it has to be asked again', async () => {
    await agent({ 'guest-fsfreeze-thaw': () => {} })
    await expect(quiesced(hasty)).rejects.toThrow('guest-fsfreeze-thaw: no answer')
    expect(seen).toEqual([true])
  })

  test('may say what it likes', async () => {
    await agent({ 'guest-sync-delimited': (say) => say('\xff{"return": 1}\n[]\nnull\n{"ret\n\xff\xff{"return": "x"}\n') })
    expect(await quiesced(hasty)).toBe(false)
    server?.close()
    await agentAgain({ 'guest-sync-delimited': (say) => say('x'.repeat(100_000)) })
    expect(await quiesced(hasty)).toBe(false)
  })
})

async function agentAgain(answers: Parameters<typeof agent>[0]): Promise<void> {
  for (const socket of sockets.splice(0)) socket.destroy()
  rmSync(join(folder, 'qga.sock'), { force: true })
  await agent(answers)
}
