import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { packageRoot } from '../core/package-root.ts'

const execute = promisify(execFile)
const SCRIPT = path.join(packageRoot(), 'images/debian-12/root/etc/initramfs-tools/scripts/init-bottom/hearth-machine-id')

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-machine-id-'))
  await mkdir(path.join(folder, 'root/etc'), { recursive: true })
  await mkdir(path.join(folder, 'root/var/lib/hearth'), { recursive: true })
  await writeFile(path.join(folder, 'root/etc/machine-id'), '')
})
afterEach(() => rm(folder, { recursive: true }))

/** Runs it as the initial RAM disk does, on a machine with that uuid; answers how it mounted the root. */
async function boot(uuid: string | undefined): Promise<string> {
  const firmware = path.join(folder, 'uuid')
  if (uuid !== undefined) await writeFile(firmware, `${uuid}\n`)
  const text = (await readFile(SCRIPT, 'utf8')).replace('/sys/class/dmi/id/product_uuid', firmware)
  const program = `mount() { echo "$@"; }\n${text}`
  const { stdout } = await execute('sh', ['-c', program], { env: { ...process.env, rootmnt: path.join(folder, 'root') } })
  return stdout.replaceAll(folder, '')
}

const machineId = () => readFile(path.join(folder, 'root/etc/machine-id'), 'utf8')

describe('the machine-id of a Debian guest', () => {
  it('is its own, also on the disk of another machine, and stays what it is', async () => {
    expect(await boot('ec2aaaaa-1111-2222-3333-444444444444')).toBe('-o remount,rw none /root\n-o remount,ro none /root\n')
    expect(await machineId()).toBe('ec2aaaaa111122223333444444444444\n')
    expect(await boot('ec2aaaaa-1111-2222-3333-444444444444')).toBe('')
    expect(await boot('ec2bbbbb-1111-2222-3333-444444444444')).not.toBe('')
    expect(await machineId()).toBe('ec2bbbbb111122223333444444444444\n')
  })

  it('is left to systemd where the firmware does not tell who the machine is', async () => {
    expect(await boot(undefined)).toBe('')
    expect(await machineId()).toBe('')
  })

  it('needs nothing before it', async () => {
    expect((await execute('sh', [SCRIPT, 'prereqs'])).stdout).toBe('')
  })
})
