import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { buildImage, listBuiltImages, type BuiltImage } from '../../src/images/build.ts'
import { bootTinyGuest, type Identity, type TinyGuest } from '../support/tiny-guest.ts'
import { testCache, tinyImage } from '../support/tiny-image.ts'

const execute = promisify(execFile)
const BOOT_MS = 60_000

let image: BuiltImage
let folder: string
const guests: TinyGuest[] = []

beforeAll(async () => {
  image = await tinyImage()
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-tiny-'))
})

afterAll(async () => {
  for (const guest of guests) await guest.kill()
  await rm(folder, { recursive: true, force: true })
})

async function makeKey(name: string): Promise<{ file: string; publicKey: string }> {
  const file = path.join(folder, name)
  await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', `${name}@test`, '-f', file])
  return { file, publicKey: await readFile(`${file}.pub`, 'utf8') }
}

async function makeDisk(name: string, backing: string, sizeGib: number): Promise<string> {
  const disk = path.join(folder, `${name}.qcow2`)
  await execute('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', backing, disk, `${sizeGib}G`])
  return disk
}

async function boot(name: string, disk: string, identity: Identity): Promise<TinyGuest> {
  const guest = await bootTinyGuest(path.join(folder, name), disk, identity)
  guests.push(guest)
  await guest.waitForConsole(`hearth: READY ${identity.instanceId}`, BOOT_MS)
  return guest
}

describe('the built image', () => {
  it('is described truthfully', async () => {
    expect(image.name).toMatch(/^hearth-tiny-.+-x86_64$/)
    const { stdout } = await execute('qemu-img', ['info', '--output=json', image.file])
    const info = JSON.parse(stdout) as { format: string; 'virtual-size': number }
    expect(info).toMatchObject({ format: 'qcow2', 'virtual-size': image.sizeGib * 2 ** 30 })
    expect(info).not.toHaveProperty('backing-filename')
    expect((await stat(image.file)).mode & 0o777).toBe(0o444)
    expect(createHash('sha256').update(await readFile(image.file)).digest('hex')).toBe(image.sha256)
    expect(Object.keys(image.packages)).toEqual(expect.arrayContaining(['busybox-static', 'dropbear-bin', 'libc6']))
  })

  it('is not built twice', async () => {
    const lines: string[] = []
    const options = { home: testCache, clock: systemClock, log: silentLogger, progress: (line: string) => lines.push(line) }
    expect(await buildImage('tiny', options)).toEqual(image)
    expect(lines).toEqual([])
    expect(await listBuiltImages(testCache)).toContainEqual(image)
  })

  it('is built anew by force, cleaning up after a build that was killed', async () => {
    const home = path.join(folder, 'home')
    const crashed = path.join(home, 'tmp/image-tiny.999999999.1.abcdef')
    await mkdir(crashed, { recursive: true })
    const options = { home, clock: systemClock, log: silentLogger, progress: () => {} }
    const first = await buildImage('tiny', options)
    expect(await readdir(path.join(home, 'tmp'))).toEqual([])
    await utimes(first.file, 0, 0)
    const second = await buildImage('tiny', { ...options, force: true })
    expect((await stat(second.file)).mtimeMs).toBeGreaterThan(0)
    expect(await listBuiltImages(home)).toEqual([second])
  })
})

describe('guests of the tiny image', () => {
  it('take their identity, run user-data once, reboot, power off and can become images', async () => {
    const alice = await makeKey('alice')
    const bob = await makeKey('bob')
    const script = '#!/bin/bash -e\necho "ran as $(hostname) by bash ${BASH_VERSION%%.*}" | tee -a /root/ran\n'
    const first = { instanceId: 'i-0aaaaaaaaaaaaaaa1', hostname: 'ip-172-31-5-10', publicKey: alice.publicKey, userData: script }
    const second = { instanceId: 'i-0bbbbbbbbbbbbbbb2', hostname: 'ip-172-31-5-11', publicKey: bob.publicKey, userData: Buffer.from([0x1f, 0x8b, 0, 10, 255]) }
    const firstDisk = await makeDisk('first', image.file, image.sizeGib)
    const secondDisk = await makeDisk('second', image.file, 3)
    const [a, b] = await Promise.all([boot('a', firstDisk, first), boot('b', secondDisk, second)])

    // Identity, and user-data as a script.
    await a.waitForConsole('user-data ended with status 0', 10_000)
    expect(a.console()).toContain('ran as ip-172-31-5-10 by bash 5')
    expect(await a.ssh(alice.file, 'hostname; cat /var/log/user-data.log /root/ran; cat')).toBe(
      'ip-172-31-5-10\nran as ip-172-31-5-10 by bash 5\nran as ip-172-31-5-10 by bash 5\n',
    )
    await expect(a.ssh(bob.file, 'true')).rejects.toThrow('Permission denied')
    a.type('echo on-the-console $((40 + 2))\n')
    await a.waitForConsole('on-the-console 42', 10_000)

    // User-data of another kind, and a disk larger than the image.
    await b.waitForConsole('not a script that starts with #!', 20_000)
    await b.waitForConsole('root file system grown', 20_000)
    expect(await b.ssh(bob.file, 'od -An -tx1 /var/lib/user-data')).toBe(' 1f 8b 00 0a ff\n')
    const [kib] = (await b.ssh(bob.file, "df -k / | awk 'END { print $2 }'")).split('\n')
    expect(Number(kib)).toBeGreaterThan(2.8 * 2 ** 20)
    const hostKey = await a.hostKey()
    expect(hostKey).toMatch(/^ssh-ed25519 /)
    expect(await b.hostKey()).not.toBe(hostKey)
    const machineId = await a.ssh(alice.file, 'cat /etc/machine-id')
    expect(machineId).toMatch(/^[0-9a-f]{32}\n$/)

    await talkToAgent(b, bob, alice)

    // The power button ends in a power-off with clean file systems.
    const pressedMs = systemClock.now()
    await b.powerDown()
    expect(await b.ended(20_000)).toBe('guest-shutdown')
    expect(systemClock.now() - pressedMs).toBeLessThan(8_000)
    expect(b.console()).not.toMatch(/EXT4-fs error|Call Trace/)

    // A reboot keeps what was there and does not run user-data again.
    await a.ssh(alice.file, 'reboot')
    expect(await a.ended(20_000)).toBe('guest-reset')
    await a.kill()
    const again = await boot('a-again', firstDisk, { ...first, hostname: 'ip-172-31-5-99' })
    expect(await again.hostKey()).toBe(hostKey)
    expect(await again.ssh(alice.file, 'hostname; wc -l </root/ran; wc -l </root/.ssh/authorized_keys; cat /etc/machine-id')).toBe(
      `ip-172-31-5-99\n1\n1\n${machineId}`,
    )
    expect(again.requests).not.toContain('GET /latest/user-data')
    expect(again.console()).not.toContain('EXT4-fs')
    await again.ssh(alice.file, 'poweroff')
    expect(await again.ended(20_000)).toBe('guest-shutdown')
    await again.kill()

    // A machine made from an image of the first is somebody else.
    const third = { instanceId: 'i-0cccccccccccccccc', hostname: 'ip-172-31-5-12', publicKey: bob.publicKey }
    const c = await boot('c', await makeDisk('third', firstDisk, image.sizeGib), third)
    expect(await c.hostKey()).not.toBe(hostKey)
    expect(await c.ssh(bob.file, 'hostname; cat', '')).toBe('ip-172-31-5-12\n')
    const itsId = await c.ssh(bob.file, 'cat /etc/machine-id')
    expect(itsId).toMatch(/^[0-9a-f]{32}\n$/)
    expect(itsId).not.toBe(machineId)
  }, 90_000)
})

/** What hosts ask a guest's agent, in the words of qemu-guest-agent. */
async function talkToAgent(guest: TinyGuest, owner: { file: string }, visitor: { file: string; publicKey: string }): Promise<void> {
  const keys = (command: string, ...list: string[]) =>
    JSON.stringify({ execute: `guest-ssh-${command}-authorized-keys`, arguments: { username: 'root', ...(list.length > 0 ? { keys: list } : {}) } })
  // What an earlier client left half said is forgotten.
  expect(await guest.askAgent('{"execute": "guest-p\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}', '{"execute":"guest-ping"}'))
    .toEqual([{ return: 7 }, { return: {} }])
  const [frozen, info] = await guest.askAgent('{"execute":"guest-fsfreeze-status"}', '{ "execute" : "guest-info", "arguments": {} }')
  expect(frozen).toMatchObject({ error: { class: 'CommandNotFound' } })
  expect(JSON.stringify(info)).toContain('"name":"guest-set-time"')

  const line = `${visitor.publicKey.trim()} "for" a\\minute`
  expect(await guest.askAgent(keys('add', line), keys('add', line))).toEqual([{ return: {} }, { return: {} }])
  expect(await guest.ssh(visitor.file, 'hostname; wc -l </root/.ssh/authorized_keys; stat -c %a /root/.ssh/authorized_keys'))
    .toBe('ip-172-31-5-11\n2\n600\n')
  const [{ return: got }] = (await guest.askAgent(keys('get'))) as [{ return: { keys: string[] } }]
  expect(got.keys).toHaveLength(2)
  expect(got.keys).toContain(line)
  expect(await guest.askAgent(keys('remove', line, 'no such key'))).toEqual([{ return: {} }])
  await expect(guest.ssh(visitor.file, 'true')).rejects.toThrow('Permission denied')
  expect(await guest.askAgent(keys('add', '# none'), keys('add', line).replace('root', 'nobody'), 'what?')).toMatchObject([
    { error: { desc: "invalid OpenSSH public key: '# none'" } }, { error: { desc: "failed to lookup user 'nobody'" } },
    { error: { class: 'GenericError', desc: 'JSON parse error' } },
  ])

  // The clock: as told, and as the hardware says.
  const year2033 = 2_000_000_000
  await guest.askAgent(`{"execute":"guest-set-time","arguments":{"time":${year2033}000000000}}`)
  expect(Number(await guest.ssh(owner.file, 'date +%s'))).toBeGreaterThanOrEqual(year2033)
  await guest.ssh(owner.file, 'date -s @1000000000')
  expect(await guest.askAgent('{"execute":"guest-set-time"}')).toEqual([{ return: {} }])
  expect(Number(await guest.ssh(owner.file, 'date +%s'))).toBeGreaterThanOrEqual(year2033)
  await guest.askAgent(`{"execute":"guest-set-time","arguments":{"time":${systemClock.now()}000000}}`)
}
