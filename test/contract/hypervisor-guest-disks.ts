import { copyFileSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import type { DiskSpec } from '../../src/hypervisor/driver.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { INSTANCE, run, until, type GuestLab } from './hypervisor-lab.ts'

const BASE = 'lay-0000000000000000b'
const BLOCK = 4096

/** What a guest sees of its disks, one test after the other on the same guest. */
export function guestDisks(labOf: () => GuestLab): void {
  const ssh = (command: string) => labOf().ssh('10.0.0.10', command)
  const root = () => labOf().spec.disks[0]!
  const ensure = (disks: DiskSpec[], cutOff: string[] = []) => labOf().driver.ensureDisks(INSTANCE, [root(), ...disks], cutOff)
  const pid = () => (JSON.parse(readFileSync(join(labOf().folder, 'instances', INSTANCE, 'machine.json'), 'utf8')) as { pid: number }).pid
  /** Layers whose files its process has open. */
  const openLayers = () => readdirSync(`/proc/${pid()}/fd`).flatMap((handle) => {
    const file = /(lay-[0-9a-f]+)\.qcow2$/.exec(linkOf(`/proc/${pid()}/fd/${handle}`))?.[1]
    return file === undefined ? [] : [file]
  })
  const qmp = async (command: string, args?: Record<string, unknown>): Promise<unknown> => {
    const client = await QmpClient.connect(join(labOf().folder, 'instances', INSTANCE), 'qmp2.sock', systemClock, 5000)
    return client.execute(command, args, 5000).finally(() => client.close())
  }
  /** The number at the beginning of a layer's chain of files, as another process reads it. */
  const numberIn = async ({ layerId, path, key }: DiskSpec['layers'][number]): Promise<number> => {
    const options = [`driver=qcow2,file.driver=file,file.filename=${path}`, ...(key === null ? [] : ['encrypt.format=luks,encrypt.key-secret=key'])]
    const secret = key === null ? [] : ['--object', `secret,id=key,data=${key}`]
    const out = join(labOf().folder, layerId)
    await run('qemu-img', ['dd', '-U', ...secret, '--image-opts', '-O', 'raw', `bs=${BLOCK}`, 'count=1', `if=${options.join(',')}`, `of=${out}`])
    return Number.parseInt(readFileSync(out, 'latin1'), 10)
  }
  const disk = (digit: string, layers: DiskSpec['layers']): DiskSpec =>
    ({ volumeId: `vol-0123456789abcdef${digit}`, deviceName: `/dev/sd${digit}`, layers, sizeGib: 1, limits: null })
  let first: DiskSpec
  let second: DiskSpec

  describe('disks', () => {
    test('are encrypted where they are to be, and their keys are nowhere to be read', async () => {
      const { rootKey, folder } = labOf()
      expect(await ssh('mount | grep -c "/dev/vda1 on / "')).toBe('1\n')
      for (const text of [
        readFileSync(`/proc/${pid()}/cmdline`, 'utf8'), readFileSync(`/proc/${pid()}/environ`, 'utf8'),
        readFileSync(join(folder, 'instances', INSTANCE, 'machine.json'), 'utf8'),
        readFileSync(join(folder, 'instances', INSTANCE, 'qemu.log'), 'utf8'), JSON.stringify(await qmp('qom-list', { path: '/objects' })),
      ]) {
        expect(text).not.toContain(rootKey)
        expect(text).not.toMatch(/"name":"(key-|master)/)
      }
      // What it inherited the master key by is empty by now.
      expect(readFileSync(`/proc/${pid()}/fd/3`)).toHaveLength(0)
    })

    test('appear in the guest with the ids of their volumes, two of them over the same layer', async () => {
      const base = await labOf().layer(BASE, null)
      await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 55 0 4k', base.path])
      first = disk('1', [await labOf().layer('lay-000000000000000a1', BASE), base])
      second = disk('2', [await labOf().layer('lay-000000000000000a2', BASE, 'a2V5IG9mIGE='), base])
      expect((await ensure([first, second])).toSorted()).toEqual([root(), first, second].map((each) => each.volumeId))
      await until('both in the guest', async () => (await ssh('cat /sys/block/vd[bc]/serial')) === 'vol0123456789abcdef1vol0123456789abcdef2')
      expect(await ssh('for disk in vdb vdc; do dd if=/dev/$disk bs=4k count=1 2>/dev/null | tr -d 7 | wc -c; done')).toBe('0\n0\n')
      expect(await ensure([first, second])).toHaveLength(3)
    })

    test('grow while the guest uses them', async () => {
      first = { ...first, sizeGib: 2 }
      await ensure([first, second])
      await until('the new size', async () => (await ssh('cat /sys/block/vdb/size')) === `${2 * 2 ** 21}\n`)
    })

    test('take no more requests each second than their limits allow', async () => {
      const limits = { iops: 40, burst: null, bytesPerSecond: null }
      await ensure([{ ...first, limits }, second])
      const before = await writesOf(qmp, first)
      const startedMs = performance.now()
      await ssh('dd if=/dev/zero of=/dev/vdb bs=4k count=60 seek=100 oflag=direct 2>/dev/null')
      const seconds = (performance.now() - startedMs) / 1000
      const writes = (await writesOf(qmp, first)) - before
      expect(writes).toBeGreaterThanOrEqual(60)
      // It may spend a tenth of a second's worth at once.
      expect(writes).toBeLessThanOrEqual(40 * (seconds + 0.2))
      await ensure([first, second])
    }, 30_000)

    test('that have no room make the guest stand still, and lose nothing', async () => {
      const { small } = labOf()
      const { layerId, path, key } = await labOf().layer('lay-000000000000000c1', null)
      const file = join(small, 'disk.qcow2')
      copyFileSync(path, file)
      const third = { ...disk('3', [{ layerId, path: file, key }]), limits: { iops: 1000, burst: null, bytesPerSecond: null } }
      await ensure([first, second, third])
      await until('it in the guest', async () => (await ssh('cat /sys/block/vdd/serial || true')) === 'vol0123456789abcdef3')
      const writing = ssh('tr "\\000" x </dev/zero | dd of=/dev/vdd bs=64k count=48 iflag=fullblock oflag=direct 2>/dev/null')
      const isOutOfSpace = async () => 'outOfSpace' in (await labOf().driver.observe(INSTANCE))
      await until('it to stand still', isOutOfSpace)
      await run('mount', ['-o', 'remount,size=8m', small])
      await labOf().driver.resume(INSTANCE)
      await writing
      expect(await isOutOfSpace()).toBe(false)
      expect(await ssh('dd if=/dev/vdd bs=64k count=48 2>/dev/null | tr -d x | wc -c')).toBe('0\n')
      await ensure([first, second], [third.volumeId])
    }, 60_000)

    test('go on in other layers all at one instant, whatever the guest writes meanwhile', async () => {
      // A number goes to the first disk, then to the second, then the next one.
      await ssh(`echo "n=0; while [ ! -e /run/stop ]; do n=\\$((n+1)); for disk in vdb vdc; do printf %4095d\\\\\\\\n \\$n |
        dd of=/dev/\\$disk bs=4k count=1 oflag=direct 2>/dev/null || exit; done; echo \\$n >/run/n; done" >/run/writer
        setsid sh /run/writer >/dev/null 2>&1 </dev/null &`)
      await until('it to write', async () => Number(await ssh('cat /run/n || true')) > 3)
      const [tops, added] = [[first.layers[0]!, second.layers[0]!], [
        await labOf().layer('lay-000000000000000b1', 'lay-000000000000000a1'),
        await labOf().layer('lay-000000000000000b2', 'lay-000000000000000a2', 'a2V5IG9mIGI='),
      ]]
      const switches = [first, second].map(({ volumeId }, index) => ({ volumeId, to: added[index]! }))
      const startedMs = performance.now()
      const outcome = await labOf().driver.switchDisks(INSTANCE, switches, { quiesce: true })
      expect(outcome).toEqual({ switched: [first.volumeId, second.volumeId], isQuiesced: false })
      console.log(`switched two disks in ${Math.round(performance.now() - startedMs)} ms`)
      const frozen = await Promise.all(tops.map(numberIn))
      const n = Number(await ssh('cat /run/n'))
      await until('it to go on', async () => Number(await ssh('cat /run/n')) > n + 3)
      expect(frozen[0]! - frozen[1]!).toBeOneOf([0, 1])
      expect(frozen[0]).toBeGreaterThan(0)
      // Twice is once, and what is immutable stays as it was.
      expect(await labOf().driver.switchDisks(INSTANCE, switches, { quiesce: false })).toMatchObject({ switched: [first.volumeId, second.volumeId] })
      expect(await Promise.all(tops.map(numberIn))).toEqual(frozen)
      first = { ...first, layers: [added[0]!, ...first.layers] }
      second = { ...second, layers: [added[1]!, ...second.layers] }
      // It has not become smaller: the layer was made before the disk grew.
      expect(await ssh('cat /sys/block/vdb/size')).toBe(`${2 * 2 ** 21}\n`)
    }, 60_000)

    test('are made of fewer layers in the background, with what was written meanwhile', async () => {
      const shorten = () => labOf().driver.ensureShortened(INSTANCE, second.volumeId, BASE)
      expect(await labOf().driver.ensureShortened(INSTANCE, 'vol-0000000000000000f', null)).toEqual({ state: 'absent' })
      await waitFor(systemClock, 'two layers', 30_000, async () => (await shorten()).state === 'done')
      expect(openLayers().filter((layer) => layer === 'lay-000000000000000a2')).toEqual([])
      const top = second.layers[0]!
      second = { ...second, layers: [top, second.layers.at(-1)!] }
      const { stdout } = await run('qemu-img', ['info', '-U', top.path])
      expect(stdout).toMatch(new RegExp(`^backing file: (\\.\\./layers/)?${BASE}\\.qcow2`, 'm'))
      const n = Number(await ssh('cat /run/n'))
      await until('it to go on', async () => Number(await ssh('cat /run/n')) > n + 3)
    }, 60_000)

    test('lose their files at once when they are cut off, in the middle of writing', async () => {
      expect(await ensure([first], [second.volumeId])).toEqual([root().volumeId, first.volumeId])
      expect(openLayers()).not.toContain(second.layers[0]!.layerId)
      await run('qemu-img', ['check', '-q', '--object', `secret,id=key,data=${second.layers[0]!.key}`, '--image-opts',
        `driver=qcow2,file.driver=file,file.filename=${second.layers[0]!.path},encrypt.key-secret=key,encrypt.format=luks`])
      await until('the writer to fail', async () => (await ssh('ps | grep -c "[r]un/writer" || true')) === '0\n')
    }, 60_000)

    test('leave when the guest gives them up, which listeners hear of', async () => {
      const heard: string[] = []
      labOf().driver.onChange((instanceId) => heard.push(instanceId))
      await ensure([])
      await until('news of it', () => heard.length > 0)
      await until('the disk to go', async () => (await ensure([])).length === 1)
      expect(openLayers()).not.toContain(first.layers[0]!.layerId)
      expect(await ssh('ls -d /sys/block/vd*')).toBe('/sys/block/vda\n')
      // All that the guest was told was written is there, up to the last number.
      expect((await numberIn(first.layers[0]!)) - (await numberIn(second.layers[0]!))).toBeOneOf([0, 1])
    }, 60_000)

    test('come again, and are there in their order after the next start', async () => {
      labOf().spec.disks.push(second, first)
      expect(await ensure([second])).toHaveLength(2)
      await until('it in the guest', async () => (await ssh('cat /sys/block/vdb/serial')) === 'vol0123456789abcdef2')
    }, 60_000)
  })
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** By QEMU's own account, of what has passed the limits. */
async function writesOf(qmp: (command: string) => Promise<unknown>, { volumeId }: DiskSpec): Promise<number> {
  const all = (await qmp('query-blockstats')) as { qdev?: string; stats: { wr_operations: number } }[]
  return all.find(({ qdev }) => qdev?.includes(`disk-${volumeId}/`))?.stats.wr_operations ?? 0
}
