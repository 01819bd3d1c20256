import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Cloned } from '../../src/cli/clone.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** What a guest tells of itself: its host name, its machine-id, who it is by its metadata, and the sums of its host keys. */
const WHO = 'hostname; cat /etc/machine-id; cat /var/lib/hearth/host-keys-of; cat /etc/dropbear/*_host_key | md5sum'

describe.skipIf(whyNotReal !== undefined)(`clones of a real guest${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('clone')
  let id: string
  let cloned: Cloned

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.upForLaunches()
    id = await cloud.launch('--tag-specifications', 'ResourceType=instance,Tags=[{Key=Name,Value=web}]')
    await cloud.isUp(id)
    await cloud.ssh(id, 'echo "written by web" >/root/note; sync')
  })
  afterAll(() => cloud.close())

  test('come up in three zones while it runs on', async () => {
    const before = await cloud.uptime(id)
    const result = await cloud.hearth('clone', 'web', '--zone', 'a,b,c', '--json')
    expect(result.code, result.stderr).toBe(0)
    cloned = JSON.parse(result.stdout) as Cloned
    expect(cloned.clones.map((each) => [each.zone, each.name])).toEqual([
      ['us-east-1a', 'web-clone-a'], ['us-east-1b', 'web-clone-b'], ['us-east-1c', 'web-clone-c'],
    ])
    for (const each of cloned.clones) await cloud.isUp(each.instanceId)
    expect(await cloud.uptime(id)).toBeGreaterThan(before)
  })

  test('have what is on its disk, and are somebody else each', async () => {
    const all = [id, ...cloned.clones.map((each) => each.instanceId)]
    const told: string[][] = []
    for (const each of all) {
      expect(await cloud.ssh(each, 'cat /root/note')).toBe('written by web')
      told.push((await cloud.ssh(each, WHO)).split('\n'))
    }
    for (const [index, what] of ['host name', 'machine-id', 'instance id', 'host keys'].entries()) {
      expect({ what, different: new Set(told.map((lines) => lines[index])).size }).toEqual({ what, different: 4 })
    }
    expect(told.map((lines) => lines[2])).toEqual(all)
  })

  test('have addresses of their own, reach each other, and know their zone', async () => {
    const [first, second] = cloned.clones
    expect(new Set(cloned.clones.map((each) => each.privateIp)).size).toBe(3)
    expect(await cloud.ssh(first?.instanceId ?? '', `ping -c 1 -w 10 ${second?.privateIp} >/dev/null && echo reached`)).toBe('reached')
    const zone = (instanceId: string) => cloud.ec2('Reservations[0].Instances[0].Placement.AvailabilityZone', 'describe-instances', '--instance-ids', instanceId)
    for (const each of cloned.clones) expect(await zone(each.instanceId)).toBe(each.zone)
  })

  test('outlive the image that they came from, and a restart', async () => {
    expect(await cloud.ec2('Images', 'describe-images', '--owners', 'self')).toBe('')
    expect(await cloud.ec2('Snapshots', 'describe-snapshots', '--owner-ids', 'self')).toBe('')
    const clone = cloned.clones[1]?.instanceId ?? ''
    await cloud.ssh(clone, 'echo "and by its clone" >>/root/note; sync')
    expect((await cloud.hearth('stop', clone)).code).toBe(0)
    expect((await cloud.hearth('start', clone)).code).toBe(0)
    await cloud.isUp(clone)
    expect(await cloud.ssh(clone, 'cat /root/note')).toBe('written by web\nand by its clone')
    expect(await cloud.ssh(id, 'cat /root/note')).toBe('written by web')
  })
})
