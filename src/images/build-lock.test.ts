import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../core/clock.ts'
import { withBuildLock } from './build-lock.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-build-lock-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('withBuildLock', () => {
  it('lets one build at a time, tells the others to wait, and is free after a failure', async () => {
    const events: string[] = []
    const build = (name: string, body: () => Promise<void>) =>
      withBuildLock(path.join(folder, 'tiny.lock'), { clock: systemClock, onWait: () => events.push(`${name} waits`) }, async () => {
        events.push(`${name} begins`)
        await body()
        events.push(`${name} ends`)
      })
    let release = () => {}
    const first = build('first', () => new Promise<void>((resolve) => (release = resolve)))
    const second = build('second', () => Promise.reject(new Error('no space')))
    expect(events).toEqual(['first begins', 'second waits'])
    release()
    await first
    await expect(second).rejects.toThrow('no space')
    await build('third', () => Promise.resolve())
    expect(events).toEqual(['first begins', 'second waits', 'first ends', 'second begins', 'third begins', 'third ends'])
  })
})
