import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { ownKey } from '../../src/cli/first-instance.ts'
import { systemClock } from '../../src/core/clock.ts'
import { freePorts } from '../../src/hypervisor/qemu/devices.ts'
import { portForDisk } from '../../src/hypervisor/qemu/places.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { RealCloud } from '../../test/e2e/real-cloud.ts'

/** What a guest finds out about its disks. */
export interface GuestFigures {
  /** Longest request of the guest's disk while an image is baked of it, and while nothing happens; milliseconds. */
  bakeMs: number
  quietMs: number
  /** Random writes of 4 KiB a second, pair by pair: on a fresh clone, and on a plain qcow2 file of the same machine. */
  pairs: { clone: number; plain: number }[]
}

const CLONED_GIB = 2
/** So large that its type's limit, 80,000 IOPS, is far off. */
const VOLUME_GIB = 160
const PLAIN_NODE = 'plain'
const QMP_TIMEOUT_MS = 10_000

/**
 * A cloud of its own with one guest: a volume with 2 GiB of data, a clone of it, and beside them a plain
 * qcow2 file that is plugged into the same QEMU by hand.
 */
export async function measureGuest(
  folder: string,
  { rounds, seconds }: { rounds: number; seconds: number },
  progress: (line: string) => void,
): Promise<GuestFigures> {
  const cloud = new RealCloud('bench')
  const guest = new Guest(cloud)
  try {
    progress('a guest')
    await cloud.prepare()
    await guest.launch()
    await guest.install(folder)
    progress(`${CLONED_GIB} GiB of data`)
    const source = await guest.volume('--size', String(CLONED_GIB))
    await guest.ssh(`dd if=/dev/zero bs=1M count=${CLONED_GIB * 1024} 2>/dev/null | tr '\\0' x >${await guest.deviceOf(source)}; sync`)
    progress('baking an image while the guest writes')
    const quietMs = await guest.longestRequestMs(source, seconds, () => Promise.resolve())
    const bakeMs = await guest.longestRequestMs(source, seconds, () => guest.bake())
    const snapshot = await guest.snapshotOf(source)
    const pairs: GuestFigures['pairs'] = []
    for (let round = 0; round < rounds; round++) {
      progress(`random writes, round ${round + 1} of ${rounds}`)
      pairs.push(await guest.compare(snapshot, seconds, round))
    }
    return { bakeMs, quietMs, pairs }
  } finally {
    await cloud.close()
  }
}

class Guest {
  readonly #cloud: RealCloud
  #id = ''
  #zone = ''
  #letter = 'e'.charCodeAt(0)

  constructor(cloud: RealCloud) {
    this.#cloud = cloud
  }

  #ec2(query: string, ...words: string[]): Promise<string> {
    return this.#cloud.ec2(query, ...words)
  }

  ssh(command: string): Promise<string> {
    return this.#cloud.ssh(this.#id, command)
  }

  async launch(): Promise<void> {
    this.#zone = (await this.#cloud.upForLaunches()).zone
    this.#id = await this.#cloud.launch('--instance-type', 't3.micro')
    await this.#cloud.isUp(this.#id)
  }

  /** Brings ioping, which makes and times requests, into the guest. */
  async install(folder: string): Promise<void> {
    const work = path.join(folder, 'ioping')
    mkdirSync(work)
    execFileSync('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', 'ioping'], { cwd: work, stdio: 'ignore' })
    const [deb = ''] = readdirSync(work)
    execFileSync('dpkg-deb', ['-x', path.join(work, deb), work])
    const program = path.join(work, 'usr/bin/ioping')
    const library = execFileSync('ldd', [program]).toString().match(/libm\.so\.6 => (\S+)/)?.[1] ?? ''
    const key = ownKey(this.#cloud.home).file
    const address = await this.#ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances')
    const options = '-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR'
    for (const file of [program, library]) {
      const target = `/tmp/${path.basename(file)}`
      const result = await this.#cloud.run('bash', ['-c', `ssh -i ${key} ${options} root@${address} 'cat >${target}; chmod +x ${target}' <${file}`])
      if (result.code !== 0) throw new Error(`ioping could not be brought into the guest: ${result.stderr}`)
    }
  }

  /** A new volume, attached. */
  async volume(...words: string[]): Promise<string> {
    const id = await this.#ec2('VolumeId', 'create-volume', '--availability-zone', this.#zone, '--volume-type', 'gp3', ...words)
    await this.#cloud.until('the volume', 60_000, async () =>
      (await this.#ec2('Volumes[0].State', 'describe-volumes', '--volume-ids', id)) === 'available')
    await this.#ec2('State', 'attach-volume', '--volume-id', id, '--instance-id', this.#id, '--device', `/dev/sd${String.fromCharCode(++this.#letter)}`)
    await this.#cloud.until('the attachment', 60_000, async () =>
      (await this.#ec2('Volumes[0].Attachments[0].State', 'describe-volumes', '--volume-ids', id)) === 'attached')
    return id
  }

  async #detach(id: string): Promise<void> {
    await this.#ec2('State', 'detach-volume', '--volume-id', id)
    await this.#cloud.until('the volume to be free', 60_000, async () =>
      (await this.#ec2('Volumes[0].State', 'describe-volumes', '--volume-ids', id)) === 'available')
    await this.#ec2('Return', 'delete-volume', '--volume-id', id)
  }

  deviceOf(serial: string): Promise<string> {
    return this.#cloud.until(`the disk ${serial} inside`, 30_000, async () =>
      (await this.ssh(`for each in /sys/block/vd*; do grep -qs ${serial.replace('-', '')} $each/serial && echo /dev/\${each##*/}; done; true`)) || undefined)
  }

  async snapshotOf(volume: string): Promise<string> {
    const id = await this.#ec2('SnapshotId', 'create-snapshot', '--volume-id', volume)
    await this.#cloud.until('the snapshot', 60_000, async () =>
      (await this.#ec2('Snapshots[0].State', 'describe-snapshots', '--snapshot-ids', id)) === 'completed')
    return id
  }

  async bake(): Promise<void> {
    await this.#ec2('ImageId', 'create-image', '--instance-id', this.#id, '--name', 'baked', '--no-reboot')
  }

  /** The longest that a write of 4 KiB takes while `meanwhile` is done, of one every 2 ms. */
  async longestRequestMs(volume: string, seconds: number, meanwhile: () => Promise<void>): Promise<number> {
    const device = await this.deviceOf(volume)
    const requests = this.#ioping(`-i 2ms -w ${seconds + 4} -S 1g`, device)
    await systemClock.sleep(2000)
    await meanwhile()
    return (await requests).longestMs
  }

  /** Random writes on a fresh clone of the snapshot and on a fresh plain file; which goes first alternates. */
  async compare(snapshot: string, seconds: number, round: number): Promise<{ clone: number; plain: number }> {
    const words = ['--snapshot-id', snapshot, '--size', String(VOLUME_GIB), '--iops', '80000', '--throughput', '2000']
    const clone = await this.volume(...words)
    const plain = await this.#plugPlain(round)
    const write = async (serial: string) => (await this.#ioping(`-i 0 -w ${seconds} -S ${CLONED_GIB}g`, await this.deviceOf(serial))).perSecond
    const first = await write(round % 2 === 0 ? clone : plain)
    const second = await write(round % 2 === 0 ? plain : clone)
    await this.#unplugPlain()
    await this.#detach(clone)
    return round % 2 === 0 ? { clone: first, plain: second } : { clone: second, plain: first }
  }

  async #ioping(words: string, device: string): Promise<{ perSecond: number; longestMs: number }> {
    const text = await this.ssh(`LD_LIBRARY_PATH=/tmp /tmp/ioping -D -WWW -B -s 4k ${words} ${device}`)
    // Requests, their time in ns, a second, bytes a second; least, mean, largest and deviation in ns; …
    const [, , perSecond = Number.NaN, , , , largest = Number.NaN] = text.split(/\s+/).map(Number)
    return { perSecond, longestMs: largest / 1e6 }
  }

  /** A plain qcow2 file as another disk of the same QEMU; answers its serial number. */
  async #plugPlain(round: number): Promise<string> {
    const folder = path.join(this.#cloud.home, 'instances', this.#id)
    const name = `plain-${round}.qcow2`
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path.join(folder, name), `${VOLUME_GIB}G`])
    const uid = statSync(path.join(folder, 'qmp.sock')).uid
    chownSync(path.join(folder, name), uid, uid)
    await this.#qmp(folder, async (run) => {
      await run('blockdev-add', {
        driver: 'qcow2', 'node-name': PLAIN_NODE, discard: 'unmap', file: { driver: 'file', filename: name, discard: 'unmap' },
      })
      const bus = portForDisk(await freePorts(run))
      if (bus === undefined) throw new Error('no free port for the plain disk')
      await run('device_add', { driver: 'virtio-blk-pci', id: 'plain-disk', drive: PLAIN_NODE, serial: 'plain', bus })
    })
    return 'plain'
  }

  async #unplugPlain(): Promise<void> {
    const folder = path.join(this.#cloud.home, 'instances', this.#id)
    await this.#qmp(folder, async (run) => {
      await run('device_del', { id: 'plain-disk' })
      await this.#cloud.until('the plain disk to go', 30_000, () =>
        run('blockdev-del', { 'node-name': PLAIN_NODE }).then(() => true, () => undefined))
    })
  }

  async #qmp<T>(folder: string, body: (run: (command: string, args?: Record<string, unknown>) => Promise<unknown>) => Promise<T>): Promise<T> {
    const client = await QmpClient.connect(folder, 'qmp2.sock', systemClock, QMP_TIMEOUT_MS)
    try {
      return await body((command, args) => client.execute(command, args, QMP_TIMEOUT_MS))
    } finally {
      client.close()
    }
  }
}

