import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MachineCgroup } from './cgroup.ts'

// The hierarchies here are ordinary folders; the contract suite runs machines in real ones.
let root: string
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'hearth-cgroup-'))))
afterEach(() => rmSync(root, { recursive: true, force: true }))

const ID = 'i-0123456789abcdef0'
const limits = { vcpus: 2, memoryMib: 512 }
const memoryBytes = String((512 + 1536) * 1024 * 1024)

describe('a machine\'s cgroup', () => {
  test('limits it in each of the hierarchies of version 1 that are mounted', () => {
    for (const name of ['cpu', 'memory']) {
      mkdirSync(join(root, name))
      writeFileSync(join(root, name, 'cgroup.procs'), '')
    }
    const cgroup = new MachineCgroup('/home/a', ID, root)
    const { joinFiles, reason } = cgroup.ensure(limits)
    expect(reason).toBeNull()
    expect(joinFiles).toHaveLength(2)
    const expected = new RegExp(`/(cpu|memory)/hearth-[0-9a-f]{8}/${ID}/cgroup\\.procs$`)
    for (const file of joinFiles) expect(file).toMatch(expected)
  })

  test('limits it under version 2, with the controllers handed down', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'cpuset cpu memory pids\n')
    const parent = new MachineCgroup('/home/a', ID, root).ensure(limits).joinFiles
    // A real kernel makes the controllers file of the folder between; here the first attempt lacks it.
    expect(parent).toEqual([])
    const between = join(root, readdirSync(root).find((name) => name.startsWith('hearth-'))!)
    writeFileSync(join(between, 'cgroup.controllers'), 'cpu memory\n')
    const { joinFiles, reason } = new MachineCgroup('/home/a', ID, root).ensure(limits)
    expect(reason).toBeNull()
    expect(joinFiles).toEqual([join(between, ID, 'cgroup.procs')])
    expect(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8')).toBe('+cpu +memory +pids')
    expect(readFileSync(join(between, 'cgroup.subtree_control'), 'utf8')).toBe('+cpu +memory')
    expect(readFileSync(join(between, ID, 'memory.max'), 'utf8')).toBe(memoryBytes)
    expect(readFileSync(join(between, ID, 'cpu.weight'), 'utf8')).toBe('200')
  })

  test('says why there is none', () => {
    expect(new MachineCgroup('/home/a', ID, root).ensure(limits)).toEqual({
      joinFiles: [], reason: 'no cgroup hierarchy is mounted in /sys/fs/cgroup',
    })
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu\n')
    writeFileSync(join(root, `hearth-${'x'.repeat(8)}`), '')
    const elsewhere = new MachineCgroup('/home/a', ID, join(root, 'cgroup.controllers')).ensure(limits)
    expect(elsewhere.joinFiles).toEqual([])
    expect(elsewhere.reason).not.toBeNull()
  })

  test('belongs to one home', () => {
    mkdirSync(join(root, 'cpu'))
    writeFileSync(join(root, 'cpu', 'cgroup.procs'), '')
    const [one] = new MachineCgroup('/home/a', ID, root).ensure(limits).joinFiles
    const [other] = new MachineCgroup('/home/b', ID, root).ensure(limits).joinFiles
    expect(one).not.toBe(other)
  })

  test('is gone after it was removed, with the folder of its cloud', () => {
    mkdirSync(join(root, 'pids'))
    writeFileSync(join(root, 'pids', 'cgroup.procs'), '')
    const cgroup = new MachineCgroup('/home/a', ID, root)
    expect(cgroup.ensure(limits).joinFiles).toHaveLength(1)
    const folder = join(root, 'pids', readdirSync(join(root, 'pids')).find((name) => name.startsWith('hearth-'))!, ID)
    // As the kernel would refuse while a process is in it.
    writeFileSync(join(folder, 'busy'), '')
    expect(cgroup.remove()).toBe(false)
    rmSync(join(folder, 'busy'))
    expect(cgroup.remove()).toBe(true)
    expect(readdirSync(join(root, 'pids'))).toEqual(['cgroup.procs'])
    expect(cgroup.remove()).toBe(true)
  })
})
