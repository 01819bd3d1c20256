import {
  appendFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MachineFolder } from './folder.ts'

let home: string
let folder: MachineFolder
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hearth-folder-'))
  folder = new MachineFolder(home, 'i-0123456789abcdef0')
  mkdirSync(folder.path, { recursive: true })
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

describe('a machine\'s folder', () => {
  test('gives the end of a log, and only what came after a given point', () => {
    writeFileSync(join(folder.path, 'qemu.log'), 'first start\nsecond start\n')
    expect(folder.tail('qemu.log', 100).toString()).toBe('first start\nsecond start\n')
    expect(folder.tail('qemu.log', 6).toString()).toBe('start\n')
    expect(folder.tail('qemu.log', 100, 12).toString()).toBe('second start\n')
    expect(folder.tail('console.log', 100).length).toBe(0)
  })

  test('never reads a file that a machine put a link to in its log\'s place', () => {
    const secret = join(home, 'secret')
    writeFileSync(secret, 'secret')
    symlinkSync(secret, join(folder.path, 'console.log'))
    expect(folder.tail('console.log', 100).length).toBe(0)
    rmSync(join(folder.path, 'console.log'))
    linkSync(secret, join(folder.path, 'console.log'))
    expect(folder.tail('console.log', 100).length).toBe(0)
  })

  test('cuts a log that grows without end down to its end, on which its writer goes on', () => {
    const file = join(folder.path, 'console.log')
    writeFileSync(file, '')
    truncateSync(file, 9 * 1024 * 1024)
    appendFileSync(file, 'the end')
    folder.boundLogs()
    expect(statSync(file).size).toBe(1024 * 1024)
    appendFileSync(file, ', and more')
    expect(folder.tail('console.log', 17).toString()).toBe('the end, and more')
  })

  test('leaves a log of ordinary size as it is', () => {
    writeFileSync(join(folder.path, 'console.log'), 'short')
    folder.boundLogs()
    expect(folder.tail('console.log', 100).toString()).toBe('short')
  })

  test('gets rid of a folder that a machine put in the place of a socket, and of nothing that it leads to', () => {
    const precious = join(home, 'precious')
    mkdirSync(precious)
    writeFileSync(join(precious, 'file'), '')
    mkdirSync(join(folder.path, 'qga.sock'))
    symlinkSync(precious, join(folder.path, 'qga.sock', 'link'))
    folder.removeTraces()
    expect(folder.hasTraces()).toBe(false)
    expect(existsSync(join(precious, 'file'))).toBe(true)
  })

  test('keeps a record, and has none when the file is not one', () => {
    const record = { instanceId: folder.instanceId, uuid: 'ec2', specHash: '', pid: 7, startTicks: 8 }
    folder.writeRecord(record, 'a')
    expect(folder.readRecord()).toEqual(record)
    const pids = ['"7"', '-1', '1.5', '{}'].map((pid) => `{"pid":${pid},"startTicks":8}`)
    for (const text of ['', 'null', '[]', ...pids]) {
      writeFileSync(join(folder.path, 'machine.json'), text)
      expect(folder.readRecord()).toBeUndefined()
    }
  })
})
