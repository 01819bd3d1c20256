import { execFileSync } from 'node:child_process'
import {
  existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, truncateSync,
  writeFileSync, writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { DISK_FORMATS, type DiskFormat, type FillSource, type LayerRef, type LayerSpec, type Volumes } from '../../src/volumes/driver.ts'
import { diskArgument, filled, hasQemuImg, keyArguments, layerId, MIB, qcow2Store, qemuIo, refTo, testKey, type RealStore } from '../support/layer-files.ts'
import { MortalVolumes } from '../support/mortal-volumes.ts'

const IS_ROOT = process.getuid?.() === 0

describe.skipIf(!hasQemuImg())('filling a layer', () => {
  let store: RealStore
  let volumes: Volumes
  /** A raw disk of 24 MiB with something in it. */
  let raw: string
  beforeAll(() => {
    store = qcow2Store()
    volumes = store.driver()
    raw = join(store.parent, 'disk.raw')
    writeFileSync(raw, '')
    truncateSync(raw, 24 * MIB)
    const handle = openSync(raw, 'r+')
    for (let mib = 0; mib < 20; mib += 3) {
      writeSync(handle, Buffer.from(Array.from({ length: MIB }, (_unused, index) => (index * 7 + index / 4096 + mib) & 0xff)), 0, MIB, mib * MIB)
    }
  })
  afterAll(async () => {
    await volumes?.close()
    store?.close()
  })

  const specOf = (number: number, key: string | null = null): LayerSpec => ({ layerId: layerId(number), sizeGib: 1, parentId: null, key })
  const leftOvers = () => readdirSync(join(store.home, 'layers')).filter((name) => name.endsWith('.tmp'))

  /** A file of that format with the raw disk's content. */
  function published(format: DiskFormat, more: string[] = []): string {
    const file = join(store.parent, `disk-${format}-${more.join('-').replaceAll('/', '')}`)
    if (format === 'raw') return raw
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, ...more, raw, file])
    return file
  }

  function expectSame(spec: LayerSpec): void {
    const ref = refTo(volumes, spec)
    // A disk that ends earlier is zeros after its end.
    const compare = execFileSync('qemu-img', ['compare', ...keyArguments([ref]), diskArgument([ref]), `json:{"driver":"raw","file":{"driver":"file","filename":${JSON.stringify(raw)}}}`], { encoding: 'utf8' })
    expect(compare).toContain('Images are identical')
  }

  test.each(DISK_FORMATS.map((format, index) => [format, index] as const))('takes a %s file', async (format, index) => {
    const spec = specOf(0x10 + index, index % 2 === 0 ? null : testKey(1))
    const file = published(format)
    expect(await filled(volumes, spec, { file, format })).toEqual({ state: 'done' })
    expectSame(spec)
    expect(statSync(volumes.pathOf(spec.layerId))).toMatchObject({ mode: 0o100600, uid: process.getuid?.() })
    expect(existsSync(file)).toBe(true)
    expect(leftOvers()).toEqual([])
  })

  test.each([['qcow2', ['-c']], ['vmdk', ['-o', 'subformat=streamOptimized']], ['vpc', ['-o', 'subformat=fixed']]] as [DiskFormat, string[]][])(
    'takes a %s file of the kind %j', async (format, more) => {
      const spec = specOf(0x20)
      expect(await filled(volumes, spec, { file: published(format, more), format })).toEqual({ state: 'done' })
      expectSame(spec)
      await volumes.ensureDeleted(spec.layerId)
    },
  )

  test('takes a file that only its owner may read', async () => {
    const file = join(store.parent, 'own')
    writeFileSync(file, readFileSync(raw), { mode: 0o600 })
    expect(await filled(volumes, specOf(0x21), { file, format: 'raw' })).toEqual({ state: 'done' })
    expectSame(specOf(0x21))
    expect(leftOvers()).toEqual([])
  })

  async function expectRefused(source: FillSource, reason: RegExp, spec = specOf(0x30)): Promise<void> {
    expect(await filled(volumes, spec, source)).toEqual({ state: 'failed', reason: expect.stringMatching(reason) as string })
    // Until it is given up, which is as often as one likes.
    expect(await volumes.ensureFilled(spec, source)).toMatchObject({ state: 'failed' })
    expect(await volumes.has(spec.layerId)).toBe(false)
    expect(leftOvers()).toEqual([])
    await volumes.ensureDeleted(spec.layerId)
  }

  test('refuses a qcow2 file that names a backing file or a data file, and reads neither', async () => {
    const overlay = join(store.parent, 'overlay')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/passwd', overlay])
    await expectRefused({ file: overlay, format: 'qcow2' }, /refers to another file \(\/etc\/passwd\)/)
    const split = join(store.parent, 'split')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${split}.data`, split, '1M'])
    await expectRefused({ file: split, format: 'qcow2' }, /refers to another file \(.*split\.data\)/)
  })

  test('refuses a VMDK that names a parent, or that keeps its data in other files', async () => {
    const parent = published('vmdk')
    const child = join(store.parent, 'child.vmdk')
    execFileSync('qemu-img', ['create', '-q', '-f', 'vmdk', '-b', parent, '-F', 'vmdk', child])
    await expectRefused({ file: child, format: 'vmdk' }, /refers to another file/)
    const flat = join(store.parent, 'flat.vmdk')
    execFileSync('qemu-img', ['create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', flat, '1M'])
    await expectRefused({ file: flat, format: 'vmdk' }, /No such file|Could not open|Permission denied/)
  })

  test('refuses a file that is larger than its disk, encrypted, of another format, no plain file, or not there', async () => {
    const large = join(store.parent, 'large')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', large, '5G'])
    await expectRefused({ file: large, format: 'qcow2' }, /5368709120 bytes, more than the 1073741824/)
    await volumes.ensureLayer(specOf(0x31, testKey(1)))
    await expectRefused({ file: volumes.pathOf(layerId(0x31)), format: 'qcow2' }, /encrypted under a key/)
    for (const format of DISK_FORMATS.filter((format) => format !== 'raw')) await expectRefused({ file: raw, format }, /\w/)
    await expectRefused({ file: store.parent, format: 'raw' }, /is not a plain file/)
    const link = join(store.parent, 'link')
    symlinkSync('/etc/passwd', link)
    await expectRefused({ file: link, format: 'raw' }, /is not a plain file/)
    await expectRefused({ file: join(store.parent, 'nothing'), format: 'raw' }, /there is no file/)
  })

  test('refuses what is cut off', async () => {
    for (const format of DISK_FORMATS.filter((format) => format !== 'raw')) {
      const file = published(format)
      truncateSync(file, statSync(file).size - 4 * MIB)
      await expectRefused({ file, format }, /cut off|damaged|could not|Could not|invalid/i)
    }
  })

  /** A sealed chain with enough in it that filling takes a while. */
  async function slowChain(number: number): Promise<LayerRef[]> {
    const chain = [refTo(volumes, specOf(number, testKey(1)))]
    if (!(await volumes.has(layerId(number)))) {
      await volumes.ensureLayer(specOf(number, testKey(1)))
      qemuIo(chain, 'write -P 5 0 96M')
      await volumes.ensureSealed(layerId(number))
    }
    return chain
  }

  /** The qemu-img that a process has as its child. */
  function converterOf(parent: number): number | undefined {
    return readdirSync('/proc').map(Number).find((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8') === 'qemu-img\n' && new RegExp(`^PPid:\\s${parent}$`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'))
      } catch {
        return false
      }
    })
  }

  test.runIf(IS_ROOT)('runs as a user of its own without powers, network or other files, and gives way', async () => {
    const chain = await slowChain(0x41)
    await volumes.ensureFilled(specOf(0x42), { chain })
    const pid = await waitFor(systemClock, 'qemu-img', 10_000, () => converterOf(process.pid), 1)
    process.kill(pid, 'SIGSTOP')
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const limits = readFileSync(`/proc/${pid}/limits`, 'utf8')
    const seen = readdirSync(`/proc/${pid}/root`).toSorted()
    const network = readlinkSync(`/proc/${pid}/ns/net`)
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
    process.kill(pid, 'SIGCONT')
    expect(Number(/^Uid:\s(\d+)/m.exec(status)?.[1])).toBeGreaterThan(1_600_000_000)
    expect(status).toMatch(/^Uid:\s(\d+)\s\1\s\1\s\1$/m)
    expect(status).toMatch(/^Gid:\s(\d+)\s\1\s\1\s\1$/m)
    for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb']) expect(status).toMatch(new RegExp(`^Cap${set}:\\s0+$`, 'm'))
    expect(status).toMatch(/^NoNewPrivs:\s1$/m)
    expect(network).not.toBe(readlinkSync('/proc/self/ns/net'))
    expect(seen.filter((name) => !['bin', 'lib', 'lib32', 'lib64', 'usr', 'etc'].includes(name))).toEqual(['dev', 'in0', 'key3', 'out'])
    expect(limits).toMatch(/^Max address space\s+2147483648\s/m)
    expect(limits).toMatch(/^Max cpu time\s+660\s/m)
    expect(limits).toMatch(/^Max core file size\s+0\s/m)
    expect(stat[16]).toBe('10')
    expect(await filled(volumes, specOf(0x42), { chain })).toEqual({ state: 'done' })
  })

  test('one that is killed says so, leaves nothing, and is begun anew when asked again', async () => {
    const chain = await slowChain(0x41)
    await volumes.ensureFilled(specOf(0x43), { chain })
    process.kill(await waitFor(systemClock, 'qemu-img', 10_000, () => converterOf(process.pid), 1), 'SIGKILL')
    await expect(filled(volumes, specOf(0x43), { chain })).rejects.toThrow('ended by SIGKILL')
    expect(leftOvers()).toEqual([])
    expect(await filled(volumes, specOf(0x43), { chain })).toEqual({ state: 'done' })
    qemuIo([refTo(volumes, specOf(0x43))], 'read -P 5 0 96M')
  })

  test('ends with the agent that is killed; the next sweeps what it left and makes it whole', async () => {
    const chain = await slowChain(0x41)
    const spec = specOf(0x44)
    const agent = await MortalVolumes.create(store.home)
    await agent.call({ method: 'ensureFilled', words: [spec, { chain }] })
    const agentPid = await agent.pid()
    const pid = await waitFor(systemClock, 'qemu-img', 10_000, () => converterOf(agentPid), 1)
    process.kill(pid, 'SIGSTOP')
    await agent.close()
    await waitFor(systemClock, 'qemu-img to end', 10_000, () => !existsSync(`/proc/${pid}`) || /^State:\sZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')), 5)
    expect(leftOvers()).toHaveLength(1)
    expect(await volumes.list()).not.toContain(spec.layerId)
    expect(await filled(volumes, spec, { chain })).toEqual({ state: 'done' })
    expect(leftOvers()).toEqual([])
  })

  test('one that waits for its turn is given up at once; others have theirs', async () => {
    const chain = await slowChain(0x41)
    const specs = [0x61, 0x62, 0x63, 0x64].map((number) => specOf(number))
    for (const spec of specs) await volumes.ensureFilled(spec, { chain })
    await volumes.ensureDeleted(layerId(0x63))
    for (const number of [0x61, 0x62]) expect(await volumes.ensureFilled(specOf(number), { chain })).toMatchObject({ state: 'running' })
    for (const number of [0x61, 0x62]) await volumes.ensureDeleted(layerId(number))
    expect(await filled(volumes, specOf(0x64), { chain })).toEqual({ state: 'done' })
    expect(await filled(volumes, specOf(0x63), { chain })).toEqual({ state: 'done' })
  })

  test('tells how far it is', async () => {
    const chain = await slowChain(0x41)
    const percents: number[] = []
    await waitFor(systemClock, 'the copy', 30_000, async () => {
      const progress = await volumes.ensureFilled(specOf(0x45), { chain })
      if (progress.state === 'running') percents.push(progress.percent)
      return progress.state === 'done'
    }, 2)
    expect(percents).toEqual(percents.toSorted((a, b) => a - b))
    expect(percents.some((percent) => percent > 0 && percent < 100)).toBe(true)
  })

  test.runIf(IS_ROOT)('a full disk is said to be full, and nothing is left on it', async () => {
    const chain = await slowChain(0x41)
    const small = join(store.parent, 'small')
    mkdirSync(small)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'hearth-test', small])
    try {
      const full = store.driver(small)
      await expect(filled(full, specOf(0x51), { chain })).rejects.toThrow(`${layerId(0x51)}: no space left on the disk that holds ${small}`)
      expect(readdirSync(join(small, 'layers'))).toEqual([])
      writeFileSync(join(small, 'filler'), Buffer.alloc(5.8 * MIB))
      const encrypted = specOf(0x52, testKey(1))
      await expect(full.ensureLayer(encrypted)).rejects.toThrow(`${layerId(0x52)}: no space left on the disk that holds ${small}`)
      expect(readdirSync(join(small, 'layers'))).toEqual([])
      rmSync(join(small, 'filler'))
      await full.ensureLayer(encrypted)
      expect(await full.list()).toEqual([layerId(0x52)])
    } finally {
      execFileSync('umount', [small])
    }
  })
})
