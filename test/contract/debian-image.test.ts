import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { buildImage, type BuiltImage } from '../../src/images/build.ts'
import { debianImage } from '../support/debian-image.ts'
import { testCache } from '../support/tiny-image.ts'

const execute = promisify(execFile)
const BUILD_MS = 900_000
const ROOT_OFFSET = 2 ** 20

// What a guest makes of it is in test/e2e/debian.test.ts.
const why = process.getuid?.() === 0 ? undefined : 'building it needs root'

describe.skipIf(why !== undefined)(`the Debian image${why ? ` (skipped: ${why})` : ''}`, () => {
  let image: BuiltImage
  let folder: string
  let disk: string

  beforeAll(async () => {
    image = await debianImage()
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-debian-'))
    disk = path.join(folder, 'disk.raw')
    await execute('qemu-img', ['convert', '-O', 'raw', image.file, disk])
  }, BUILD_MS)
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** What debugfs says of the root file system; a file's content by "cat /name". */
  const inside = async (command: string) =>
    (await execute('debugfs', ['-R', command, `${disk}?offset=${ROOT_OFFSET}`])).stdout
  const namesIn = async (directory: string) =>
    (await inside(`ls -p ${directory}`)).split('\n').map((line) => line.split('/')[5] ?? '').filter((name) => !/^\.*$/.test(name))

  it('is described truthfully, and not built twice', async () => {
    const { stdout } = await execute('qemu-img', ['info', '--output=json', image.file])
    const info = JSON.parse(stdout) as Record<string, unknown>
    expect(info).toMatchObject({ format: 'qcow2', 'virtual-size': image.sizeGib * 2 ** 30 })
    expect(info).not.toHaveProperty('backing-filename')
    expect((await stat(image.file)).mode & 0o777).toBe(0o444)
    expect(createHash('sha256').update(await readFile(image.file)).digest('hex')).toBe(image.sha256)
    expect(image).toMatchObject({ user: 'admin', imdsSupport: 'v2.0', description: expect.stringMatching(/\(6\.1\..*-cloud-amd64\)$/) })
    expect(Object.keys(image.packages)).toEqual(expect.arrayContaining(['cloud-init', 'openssh-server', 'qemu-guest-agent', 'systemd']))
    const lines: string[] = []
    const options = { home: testCache, clock: systemClock, log: silentLogger, progress: (line: string) => lines.push(line) }
    expect(await buildImage('debian-12', options)).toEqual(image)
    expect(lines).toEqual([])
  })

  it('boots by itself from a sound file system that reaches to its end', async () => {
    const handle = await open(disk)
    const start = Buffer.alloc(1024)
    await handle.read(start, 0, 1024, 0)
    await handle.close()
    expect(start.subarray(510, 512)).toEqual(Buffer.from([0x55, 0xaa]))
    expect(start.readUInt32LE(446 + 8)).toBe(ROOT_OFFSET / 512)
    expect(start.readUInt32LE(446 + 8) + start.readUInt32LE(446 + 12)).toBe(image.sizeGib * 2 ** 21)
    expect(start.toString('latin1')).toContain('GRUB')
    await execute('e2fsck', ['-fn', `${disk}?offset=${ROOT_OFFSET}`])
    const uuid = /^UUID=(\S+) \/ ext4/.exec(await inside('cat /etc/fstab'))?.[1] ?? ''
    expect(await inside('show_super_stats -h')).toMatch(new RegExp(`Filesystem UUID: +${uuid}\n`))
    expect(await inside('cat /boot/grub/grub.cfg')).toContain(`root=UUID=${uuid}`)
    expect(await namesIn('/')).toEqual(expect.arrayContaining(['vmlinuz', 'initrd.img']))
  })

  it('holds nothing that machines must not share, and nothing of the host it was built on', async () => {
    expect((await namesIn('/etc/ssh')).filter((name) => name.includes('host_'))).toEqual([])
    expect(await inside('cat /etc/machine-id')).toBe('')
    // What makes one for each machine that boots from it, in the initial RAM disk.
    expect(await inside('stat /etc/initramfs-tools/scripts/init-bottom/hearth-machine-id')).toMatch(/Mode: +0755/)
    expect(await namesIn('/var/lib/hearth')).toEqual([])
    expect(await namesIn('/etc')).not.toContain('hostname')
    expect(await namesIn('/etc/apt/apt.conf.d')).not.toContain('99mmdebstrap')
    expect(await namesIn('/dev')).toEqual([])
    expect(await namesIn('/home')).toEqual([])
    expect(await inside('cat /etc/shadow')).toMatch(/^root:\*:/m)
    expect(await inside('stat /etc/shadow')).toMatch(/Mode: +0640/)
    expect(await inside('stat /')).toMatch(/Mode: +0755/)
  })
})
