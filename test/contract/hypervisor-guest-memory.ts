import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemRandom } from '../../src/core/random.ts'
import { MemoryImageError } from '../../src/hypervisor/driver.ts'
import { INSTANCE, nic, until, type GuestLab } from './hypervisor-lab.ts'

/** Told apart by its length from what a command line shows of it. */
const MARK = 'to be found in memory '
const SECONDS_WRONG = 3600

/** What a guest sees of being hibernated: nothing. Its devices are as `guestDisks` leaves them. */
export function guestMemory(labOf: () => GuestLab): void {
  const ssh = (command: string) => labOf().ssh('10.0.0.10', command)
  const number = async (command: string) => Number.parseFloat(await ssh(command))
  const image = { memoryId: 'mem-0123456789abcdef0', key: systemRandom.bytes(32).toString('base64'), binding: 'these disks' }
  const folder = () => join(labOf().folder, 'instances', INSTANCE)
  const file = () => join(folder(), `memory-${image.memoryId}`)

  /** A process is told from others by when it began. */
  const startOfCounter = async () => (await ssh('cat /proc/$(cat /run/counter.pid)/stat')).split(' ')[21]

  test('goes on where it was when its memory was saved and loaded, with all that was plugged in, and its clock is set', async () => {
    const { driver, spec } = labOf()
    const whole = { ...spec, nics: [nic(0), nic(1, 2)] }
    await driver.ensureNics(INSTANCE, whole.nics)
    await until('an answer at its address', () => labOf().answers('10.0.0.11'))
    await ssh(`cat >/run/counter <<"EOF"
      echo $$ >/run/counter.pid
      n=0
      while :; do n=$((n+1)); echo $n >/run/n; sleep 0.1; done\nEOF
      setsid sh /run/counter >/dev/null 2>&1 </dev/null &
      yes "${MARK.trim()}" | tr "\\n" " " | dd of=/run/marks bs=64k count=64 iflag=fullblock 2>/dev/null`)
    await until('it to count', async () => (await number('cat /run/n || true')) > 3)
    const counter = await startOfCounter()
    const devices = await ssh('ls /sys/bus/pci/devices /sys/class/net; cat /sys/block/vd*/serial')
    // Hidden by its own file system until then: what it is read by after is the disk.
    await ssh('echo kept >/root/kept')
    await ssh(`date -s @$(($(date +%s) - ${SECONDS_WRONG}))`)
    const [uptime, count] = [await number('cat /proc/uptime'), await number('cat /run/n')]

    const savedMs = performance.now()
    expect(await driver.ensureSaved(INSTANCE, image, whole.disks)).toBe('saved')
    console.log(`saved in ${Math.round(performance.now() - savedMs)} ms`)
    const bytes = readFileSync(file())
    expect(bytes.includes(MARK)).toBe(false)
    expect(bytes.length).toBeGreaterThan(4 * 1024 * 1024)

    // Wherever it breaks off, nothing of it is left.
    for (const broken of [bytes.subarray(0, -1), Buffer.concat([bytes.subarray(0, 3_000_000), Buffer.alloc(1, ~bytes[3_000_000]!), bytes.subarray(3_000_001)])]) {
      writeFileSync(file(), broken)
      await expect(driver.ensureLoaded(whole, image)).rejects.toThrow(MemoryImageError)
      expect(await driver.observe(INSTANCE)).toEqual({ status: 'absent' })
    }
    writeFileSync(file(), bytes)
    const loadedMs = performance.now()
    expect(await driver.ensureLoaded(whole, image)).toBe('loaded')
    console.log(`loaded in ${Math.round(performance.now() - loadedMs)} ms`)
    expect(await driver.observe(INSTANCE)).toMatchObject({ status: 'paused' })
    await driver.ensureReleased(INSTANCE)
    expect(readdirSync(folder()).filter((name) => name.startsWith('memory'))).toEqual([])

    await until('an answer', () => labOf().answers('10.0.0.10'))
    expect(await number('cat /proc/uptime')).toBeGreaterThan(uptime)
    expect(await startOfCounter()).toBe(counter)
    await until('it to count on', async () => (await number('cat /run/n')) > count + 3)
    expect(await ssh('cat /root/kept; ls /sys/bus/pci/devices /sys/class/net; cat /sys/block/vd*/serial')).toBe(`kept\n${devices}`)
    expect(await ssh('dd if=/dev/vdb of=/dev/null bs=4k count=1 2>/dev/null && echo read')).toBe('read\n')
    await until('an answer at its other address', () => labOf().answers('10.0.0.11'))
    await until('its clock to be right', async () => Math.abs(await number('date +%s') - Date.now() / 1000) < 60)
    expect(await labOf().says('hearth: READY')).toBe(1)

    // What was plugged in can still go.
    await driver.ensureNics(INSTANCE, [nic(0)])
    await until('the interface to go', async () => (await driver.ensureNics(INSTANCE, [nic(0)])).length === 0)
    await until('the guest to have cleared up', async () => !(await ssh('ls /sys/class/net; ls -d /run/net.* 2>/dev/null; ip rule')).match(/eth1|net\.|10\.0/))
    await ssh('kill $(cat /run/counter.pid)')
  }, 120_000)
}
