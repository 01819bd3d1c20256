import { EventEmitter, once } from 'node:events'
import { expect, it } from 'vitest'
import { createSerial } from './serial.ts'

it('runs tasks of one key in their order, other keys side by side, past failures', async () => {
  const serial = createSerial()
  const seen: string[] = []
  const gate = new EventEmitter()
  const first = serial('a', async () => {
    await once(gate, 'open')
    seen.push('a1')
  })
  const failing = serial('a', async () => {
    seen.push('a2')
    throw new Error('no')
  })
  const third = serial('a', async () => seen.push('a3'))
  await serial('b', async () => seen.push('b1'))
  gate.emit('open')
  await first
  await expect(failing).rejects.toThrow('no')
  await third
  expect(seen).toEqual(['b1', 'a1', 'a2', 'a3'])
})
