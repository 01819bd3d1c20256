import { cpSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { debianImage } from '../support/debian-image.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Two processors and 2 GiB; under emulation Debian takes about a minute to boot with them. */
const TYPE = 't3.small'
const BOOT_MS = 600_000
/** More than the image has, so that partition and file system must grow. */
const ROOT_GIB = 12

const USER_DATA = `Content-Type: multipart/mixed; boundary="=part="
MIME-Version: 1.0

--=part=
Content-Type: text/cloud-config; charset="utf-8"

#cloud-config
write_files:
  - path: /etc/made-by-cloud-config
    content: kept
    permissions: '0640'
runcmd:
  - [sh, -c, 'echo runcmd as $(id -un) >>/var/log/made-by-runcmd']

--=part=
Content-Type: text/x-shellscript; charset="utf-8"

#!/bin/bash
echo "script by bash \${BASH_VERSION%%.*} on $(hostname)" | tee -a /var/log/made-by-script
--=part=--
`

/** Asks the guest agent behind a machine's socket one thing, once it is in step with the asker. */
function askAgent(socketPath: string, command: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath)
    const step = Math.floor(process.hrtime()[1])
    let rest = ''
    const send = (execute: string, words?: Record<string, unknown>) =>
      socket.write(`${JSON.stringify({ execute, arguments: words })}\n`)
    socket.setTimeout(20_000, () => socket.destroy(new Error(`the guest agent did not answer ${command}`)))
    socket.on('error', reject)
    socket.on('data', (data: Buffer) => {
      const lines = (rest + data.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const answer = JSON.parse(line) as { return: unknown }
        // Whatever was answered before is to somebody who is gone.
        if (answer.return === step) send(command)
        else if (typeof answer.return === 'object') socket.end(() => resolve(answer.return))
      }
    })
    send('guest-sync', { id: step })
  })
}

describe.skipIf(whyNotReal !== undefined)(`a Debian guest${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('debian')
  const keyFile = path.join(cloud.home, 'test.pem')
  let id = ''

  beforeAll(async () => {
    const { file } = await debianImage()
    await cloud.prepare()
    await cloud.up('--no-first-instance')
    for (const each of [file, file.replace(/qcow2$/, 'json')]) cpSync(each, path.join(cloud.home, 'images', path.basename(each)))
  }, 900_000)
  afterAll(() => cloud.close())

  const tryInGuest = (command: string) => cloud.hearth('ssh', '-i', keyFile, id, '--', command)

  async function inGuest(command: string): Promise<string> {
    const result = await tryInGuest(command)
    if (result.code !== 0) throw new Error(`${command}: ${result.stderr}${result.stdout}`)
    return result.stdout.trim()
  }

  async function consoleOutput(): Promise<string> {
    const answer = (await cloud.awsJson('ec2', 'get-console-output', '--latest', '--instance-id', id)) as { Output?: string }
    return answer.Output ?? ''
  }

  /** Waits for a boot that is not `before`; says how it ended otherwise. */
  async function booted(before = ''): Promise<string> {
    try {
      await cloud.sshGreets(id, BOOT_MS)
      return await cloud.until('SSH in the Debian guest', BOOT_MS, async () => {
        const result = await tryInGuest('cat /proc/sys/kernel/random/boot_id')
        return result.code === 0 && result.stdout !== before ? result.stdout : undefined
      })
    } catch (error) {
      throw new Error(`its console:\n${(await consoleOutput()).slice(-4000)}`, { cause: error })
    }
  }

  test('an image that is built beside a running cloud is there within seconds, described for EC2', async () => {
    const built = await cloud.hearth('image', 'build', 'debian-12')
    expect(built).toMatchObject({ code: 0, stderr: '' })
    const image = await cloud.until('the AMI', 30_000, async () => {
      const answer = await cloud.awsJson('ec2', 'describe-images', '--filters', 'Name=name,Values=*debian-12-amd64*')
      return (answer as unknown as { Images: Record<string, unknown>[] }).Images[0]
    })
    expect(image).toMatchObject({
      Name: expect.stringMatching(/^hearth-debian-12-amd64-\d{8}-[0-9a-f]{8}$/), Architecture: 'x86_64', State: 'available',
      RootDeviceName: '/dev/xvda', ImdsSupport: 'v2.0', Public: true,
    })
    writeFileSync(path.join(cloud.home, 'user-data'), gzipSync(USER_DATA))
    const key = await cloud.awsJson('ec2', 'create-key-pair', '--key-name', 'test', '--key-type', 'ed25519')
    writeFileSync(keyFile, String((key as { KeyMaterial?: string }).KeyMaterial), { mode: 0o600 })
    await cloud.awsJson('ec2', 'authorize-security-group-ingress', '--group-name', 'default', '--protocol', 'tcp', '--port', '22', '--cidr', '0.0.0.0/0')
    const launched = await cloud.awsJson('ec2', 'run-instances', '--image-id', String(image.ImageId), '--instance-type', TYPE,
      '--key-name', 'test', '--user-data', `fileb://${path.join(cloud.home, 'user-data')}`,
      '--block-device-mappings', `DeviceName=/dev/xvda,Ebs={VolumeSize=${ROOT_GIB},Encrypted=true}`,
      '--hibernation-options', 'Configured=true')
    id = (launched as unknown as { Instances: { InstanceId: string }[] }).Instances[0]?.InstanceId ?? ''
    await cloud.areInState('running', id)
  })

  test('cloud-init makes it what its launch asked for', async () => {
    const begunMs = systemClock.now()
    await booted()
    console.log(`SSH let in after ${Math.round((systemClock.now() - begunMs) / 1000)} s`)
    expect(await inGuest('cloud-init status --wait --long')).toMatch(/^\.*\n?status: done[^]*DataSourceEc2/)
    console.log(await inGuest('systemd-analyze | head -1'))
    expect(await inGuest('sudo systemctl --failed --no-legend --plain; systemctl is-system-running --wait')).toBe('running')

    const made = '/etc/made-by-cloud-config /var/log/made-by-runcmd /var/log/made-by-script'
    expect(await inGuest(`whoami; sudo -n whoami; hostname; sudo cat ${made}`)).toMatch(/^admin\nroot\n(ip-172-31-\d+-\d+)\nkeptruncmd as root\nscript by bash 5 on \1$/)
    expect(await inGuest('stat -c %a /etc/made-by-cloud-config; nproc; df -BG --output=size / | tail -1; cat /etc/default/locale; wc -c </etc/machine-id'))
      .toMatch(/^640\n2\n *12G\nLANG=C.UTF-8\n33$/)
    expect(await inGuest('ls /etc/ssh/ssh_host_*_key; findmnt -no FSTYPE,OPTIONS /')).toMatch(/ecdsa_key\n.*ed25519_key\next4 +rw,.*discard/)
    // The AMI asks for session tokens, and nobody else lets root in.
    expect(await inGuest("curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/")).toBe('401')
    expect((await cloud.hearth('ssh', '-i', keyFile, '--user', 'root', id, '--', 'echo in')).stdout).not.toMatch(/^in$/m)
    expect(await consoleOutput()).toMatch(/Debian GNU\/Linux 12 ip-172-31-\d+-\d+ ttyS0\s+ip-[\d-]+ login:/)
  }, BOOT_MS + 60_000)

  test('the guest agent answers on its channel', async () => {
    const socket = path.join(cloud.home, 'instances', id, 'qga.sock')
    expect(await askAgent(socket, 'guest-get-osinfo')).toMatchObject({ id: 'debian', 'version-id': '12' })
    expect(await askAgent(socket, 'guest-get-host-name')).toMatchObject({ 'host-name': expect.stringMatching(/^ip-172-31-/) })
  })

  test('it boots what update-grub wrote, keeps what it had, and does not run user-data again', async () => {
    const before = await tryInGuest('cat /proc/sys/kernel/random/boot_id')
    expect(await inGuest('sudo update-grub 2>&1; sudo grep -c "root=UUID" /boot/grub/grub.cfg')).toMatch(/Found linux image: .*\n(?:.*\n)*[1-9]$/)
    const hostKey = await inGuest('cat /etc/ssh/ssh_host_ed25519_key.pub')
    // As the disk of another machine's image would say.
    await inGuest("sudo sh -c 'echo 0123456789abcdef0123456789abcdef >/etc/machine-id; echo another >/var/lib/hearth/machine-id-of'")
    await cloud.awsJson('ec2', 'reboot-instances', '--instance-ids', id)
    await booted(before.stdout)
    expect(await inGuest('cloud-init status --wait')).toMatch(/status: done/)
    expect(await inGuest('cat /etc/ssh/ssh_host_ed25519_key.pub')).toBe(hostKey)
    expect(await inGuest("sudo sh -c 'tr -d - </sys/class/dmi/id/product_uuid | cmp - /etc/machine-id' && findmnt -no OPTIONS / && systemctl --failed --no-legend"))
      .toMatch(/^rw,\S+$/)
    expect(await inGuest('sudo cat /etc/made-by-cloud-config; wc -l </var/log/made-by-runcmd; wc -l </var/log/made-by-script'))
      .toBe('kept1\n1')
  }, BOOT_MS + 60_000)

  test('hibernated and started, it goes on where it was, and its agent sets the clock right', async () => {
    const [bootId, uptime] = (await inGuest('cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime')).split('\n')
    await cloud.awsJson('ec2', 'stop-instances', '--hibernate', '--instance-ids', id)
    await cloud.areInState('stopped', id)
    const hibernatedMs = systemClock.now()
    await cloud.until('a while', 20_000, () => systemClock.now() > hibernatedMs + 5000)
    await cloud.awsJson('ec2', 'start-instances', '--instance-ids', id)
    await cloud.areInState('running', id)
    await cloud.sshGreets(id, 60_000)
    const now = (await inGuest('cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime; date +%s')).split('\n')
    expect(now[0]).toBe(bootId)
    expect(Number(now[1])).toBeGreaterThanOrEqual(Number(uptime))
    expect(Math.abs(Number(now[2]) - systemClock.now() / 1000)).toBeLessThan(3)
  })
})
