import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { homeIdOf } from '../../src/home.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

const IRELAND = 'eu-west-1'

describe.skipIf(whyNotReal !== undefined)(`two regions with real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('regions')
  /** The instance that is baked, and its image. */
  let id: string
  let image: string

  const inIreland = (query: string, ...words: string[]) => cloud.ec2(query, ...words, '--region', IRELAND)
  const qemusIn = (folder: string) => execFileSync('pgrep', ['-f', `^qemu-system.*${folder}`]).toString().trim().split('\n').length

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.upForLaunches({ HEARTH_MORE_REGIONS: IRELAND, HEARTH_ZONES: 'a' })
    id = await cloud.launch()
    await cloud.isUp(id)
  })
  afterAll(() => cloud.close())

  test('have processes, disks and networks of their own', async () => {
    const { children } = await cloud.status()
    expect(Object.keys(children)).toEqual(['api', 'agent', 'us-east-1a', IRELAND, 'eu-west-1a'])
    const [vpc, vpcThere] = [await cloud.ec2('Vpcs[].VpcId', 'describe-vpcs'), await inIreland('Vpcs[].VpcId', 'describe-vpcs')]
    expect(vpc).not.toBe(vpcThere)
    expect(await inIreland('Reservations', 'describe-instances')).toBe('')
  })

  test('an image of a machine in one is copied to the other; its source may go', async () => {
    await cloud.ssh(id, 'echo carried over >/root/mark; sync')
    image = await cloud.ec2('ImageId', 'create-image', '--instance-id', id, '--name', 'baked', '--no-reboot')
    await cloud.until('the image', 120_000, async () =>
      (await cloud.ec2('Images[0].State', 'describe-images', '--image-ids', image)) === 'available')
    const copy = await inIreland(
      'ImageId', 'copy-image', '--source-region', 'us-east-1', '--source-image-id', image, '--name', 'carried', '--encrypted')
    await cloud.until('the copy', 180_000, async () =>
      (await inIreland('Images[0].State', 'describe-images', '--image-ids', copy)) === 'available')
    expect(copy).not.toBe(image)
    await cloud.ec2('Return', 'deregister-image', '--image-id', image, '--delete-associated-snapshots')
    image = copy
    expect(readdirSync(path.join(cloud.home, 'regions', IRELAND, 'layers')).some((name) => name.startsWith('lay-'))).toBe(true)
  })

  test('a machine of the copy runs there, has what was in it, and knows where it is', async () => {
    const key = ownKey(cloud.home)
    const material = Buffer.from(`${execFileSync('ssh-keygen', ['-y', '-f', key.file]).toString().trim()}\n`).toString('base64')
    await inIreland('KeyName', 'import-key-pair', '--key-name', key.name, '--public-key-material', material)
    const group = await inIreland('SecurityGroups[0].GroupId', 'describe-security-groups')
    await inIreland('Return', 'authorize-security-group-ingress', '--group-id', group, '--protocol', 'tcp', '--port', '22', '--cidr', '0.0.0.0/0')
    const there = await inIreland(
      'Instances[0].InstanceId', 'run-instances', '--image-id', image, '--instance-type', 't3.nano', '--key-name', key.name)
    await cloud.sshGreets(there, undefined, ['--region', IRELAND])
    const ssh = async (command: string) => {
      const result = await cloud.hearth('ssh', there, '--region', IRELAND, '--', command)
      return result.code === 0 ? result.stdout.trim() : undefined
    }
    expect(await cloud.until('SSH of the copy', 180_000, () => ssh('cat /root/mark'))).toBe('carried over')
    expect(await ssh('wget -q -O - http://169.254.169.254/latest/meta-data/placement/region')).toBe(IRELAND)
    const [address = '', name = ''] = (await inIreland(
      'Reservations[0].Instances[0].[PublicIpAddress,PublicDnsName]', 'describe-instances', '--instance-ids', there)).split(/\s+/)
    expect(name).toMatch(/^ec2-.*\.eu-west-1\.compute\.amazonaws\.com$/)
    expect(await cloud.ssh(id, `nslookup ${name}; nslookup ${address}`)).toEqual(expect.stringMatching(new RegExp(`Address.*${address}(.|\n)*${name}`)))
    expect(await cloud.ssh(id, `sleep 3 | nc ${name} 22 | head -c 4`)).toBe('SSH-')
    // The other one has not noticed.
    expect(await cloud.ssh(id, 'cat /root/mark')).toBe('carried over')
    expect(qemusIn(id) + qemusIn(there)).toBe(2)
  })

  test('hearth down ends both, and leaves nothing', async () => {
    const result = await cloud.hearth('down')
    expect(result.stderr + result.stdout).toContain('everything is down')
    expect(execFileSync('ip', ['-n', cloud.namespace, 'route']).toString()).not.toContain('198.1')
    expect(cloud.leftovers()).toEqual([])
    expect(execFileSync('ip', ['netns', 'list']).toString()).not.toContain(`hearth-${homeIdOf(path.join(cloud.home, 'regions', IRELAND))}-`)
  })
})
