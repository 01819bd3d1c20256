import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cpioArchive } from './cpio.ts'
import { layOut, partitionTable, singlePartitionTable } from './disk.ts'
import { elfNeeds } from './elf.ts'
import { dependenciesOf, resolveModules, withoutSignature } from './modules.ts'
import { loadRecipe } from './recipe.ts'
import { busyboxCommands } from './root-tree.ts'
import { run } from './run.ts'
import { makeWorkFolder } from './work-folder.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-images-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('layOut and partitionTable', () => {
  it('put the root partition last, up to the end of the disk', () => {
    const layout = layOut(1, 15.5 * 2 ** 20)
    expect(layout).toEqual({
      diskSectors: 2_097_152,
      boot: { start: 2048, count: 20 * 2048 },
      root: { start: 21 * 2048, count: 2_097_152 - 21 * 2048 },
    })
    const table = partitionTable(layout)
    expect(table.length).toBe(66)
    expect([table[0], table[4], table.readUInt32LE(8), table.readUInt32LE(12)]).toEqual([0, 0x83, 43_008, 2_054_144])
    expect([table[16], table[20], table.readUInt32LE(24), table.readUInt32LE(28)]).toEqual([0x80, 0x0e, 2048, 40_960])
    expect(table.subarray(64)).toEqual(Buffer.from([0x55, 0xaa]))
  })
})

describe('singlePartitionTable', () => {
  it('has one active partition of Linux and nothing else', () => {
    const table = singlePartitionTable({ start: 2048, count: 16_775_168 })
    expect([table[0], table[4], table.readUInt32LE(8), table.readUInt32LE(12)]).toEqual([0x80, 0x83, 2048, 16_775_168])
    expect(table.subarray(16)).toEqual(Buffer.concat([Buffer.alloc(48), Buffer.from([0x55, 0xaa])]))
  })
})

describe('cpioArchive', () => {
  it('writes aligned newc records and the trailer', () => {
    const archive = cpioArchive([
      { name: 'bin', kind: 'folder', mode: 0o755 },
      { name: 'bin/tool', kind: 'file', mode: 0o750, data: Buffer.from('12345') },
    ])
    expect(archive.length % 4).toBe(0)
    const text = archive.toString('latin1')
    expect(text.slice(0, 22)).toBe('07070100000001000041ed')
    const second = text.indexOf('070701', 6)
    expect(text.slice(second + 14, second + 22)).toBe('000081e8')
    expect(text.slice(second + 54, second + 62)).toBe('00000005')
    expect(text).toContain('bin/tool\0\x0012345\0\0\x00070701')
    expect(text).toContain('TRAILER!!!\0')
  })
})

describe('elfNeeds', () => {
  it('finds the loader and libraries of a program', async () => {
    const needs = elfNeeds(await readFile('/bin/ls'))
    expect(needs.interpreter).toMatch(/^\/lib.*\/ld-linux/)
    expect(needs.libraries).toContain('libc.so.6')
  })

  it('refuses what is no ELF file', () => {
    expect(() => elfNeeds(Buffer.from('#!/bin/sh\n'))).toThrow('not a 64-bit')
  })
})

const module = (depends: string) => Buffer.from(`\x7fELF…\0license=GPL\0depends=${depends}\0name=x\0`)

describe('kernel modules', () => {
  it('are ordered after what they depend on, without what is built in or loaded', async () => {
    const contents: Record<string, string> = { net: 'failover,virtio-ring', failover: '', ring: '', blk: 'virtio-ring' }
    const files = new Map<string, string>()
    for (const [name, depends] of Object.entries(contents)) {
      files.set(name === 'ring' ? 'virtio_ring' : name, path.join(folder, `${name}.ko`))
      await writeFile(path.join(folder, `${name}.ko`), module(depends))
    }
    const tree = { kernelVersion: '6.1', files, builtin: new Set(['ext4']), busybox: '' }
    const names = async (wanted: string[], loaded?: Set<string>) =>
      (await resolveModules(tree, wanted, loaded)).map(({ name }) => name)
    expect(await names(['ext4', 'net', 'blk'])).toEqual(['failover', 'virtio_ring', 'net', 'blk'])
    expect(await names(['blk'], new Set(['virtio_ring']))).toEqual(['blk'])
    await expect(names(['floppy'])).rejects.toThrow('kernel 6.1 has no module floppy')
  })

  it('lose their signature and nothing else', () => {
    const body = module('a-b')
    const trailer = Buffer.alloc(12)
    trailer.writeUInt32BE(300, 8)
    const signed = Buffer.concat([body, Buffer.alloc(300, 7), trailer, Buffer.from('~Module signature appended~\n')])
    expect(withoutSignature(signed)).toEqual(body)
    expect(withoutSignature(body)).toEqual(body)
    expect(dependenciesOf(body)).toEqual(['a_b'])
  })
})

describe('makeWorkFolder', () => {
  it('deletes the folders of dead processes only', async () => {
    const mine = await makeWorkFolder(folder, 'image-tiny')
    await mkdir(path.join(folder, `image-tiny.${process.pid}.1.abcdef`))
    await mkdir(path.join(folder, 'image-tiny.999999999.5.abcdef'))
    await mkdir(path.join(folder, 'somebody-else'))
    const another = await makeWorkFolder(folder, 'image-tiny')
    const kept = [path.basename(mine), path.basename(another), 'somebody-else']
    expect((await readdir(folder)).toSorted()).toEqual(kept.toSorted())
  })
})

describe('the commands of a BusyBox', () => {
  it('are read from the program, whatever processor it is for', async () => {
    const busybox = '/bin/busybox'
    expect(busyboxCommands(await readFile(busybox))).toEqual((await run(busybox, ['--list'])).trim().split('\n'))
    expect(() => busyboxCommands(Buffer.from('another program'))).toThrow(/no table of commands/)
  })
})

describe('loadRecipe', () => {
  it('hashes the same files to the same hash', async () => {
    const recipe = await loadRecipe('tiny')
    expect(recipe.hash).toMatch(/^[0-9a-f]{16}$/)
    expect((await loadRecipe('tiny')).hash).toBe(recipe.hash)
    expect((await loadRecipe('debian-12')).hash).not.toBe(recipe.hash)
  })
})

describe('run', () => {
  it('says what failed and why', async () => {
    await expect(run('sh', ['-c', 'echo no space >&2; exit 3'])).rejects.toThrow(/failed with status 3: no space/)
    await expect(run('hearth-no-such-program', [])).rejects.toThrow(/cannot be run/)
    const lines: string[] = []
    expect(await run('sh', ['-c', 'echo one; echo two >&2'], { onLine: (line) => lines.push(line) })).toBe('one\n')
    expect(lines.toSorted()).toEqual(['one', 'two'])
  })
})
