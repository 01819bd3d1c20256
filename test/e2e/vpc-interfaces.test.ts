import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

describe.skipIf(whyNotReal !== undefined)(`interfaces of real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('interfaces')
  let subnet: string
  /** The instance that interfaces come to, and another one that it is reached from. */
  let id: string
  let other: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)

  const ofInterface = (query: string, interfaceId: string) =>
    ec2(`NetworkInterfaces[0].${query}`, 'describe-network-interfaces', '--network-interface-ids', interfaceId)
  const isAttached = (interfaceId: string) =>
    cloud.until(`${interfaceId} to be attached`, 60_000, async () => (await ofInterface('Attachment.Status', interfaceId)) === 'attached')
  const isAvailable = (interfaceId: string) =>
    cloud.until(`${interfaceId} to be available`, 60_000, async () => (await ofInterface('Status', interfaceId)) === 'available')
  const reaches = async (address: string) => (await cloud.hearth('ssh', other, '--', `nc -w 3 ${address} 22 </dev/null`)).code === 0
  const answersAt = (address: string) => cloud.until(`an answer at ${address}`, 60_000, () => reaches(address))
  const macsIn = async (instanceId: string) => (await cloud.ssh(instanceId, 'cat /sys/class/net/eth*/address')).split('\n')

  beforeAll(async () => {
    await cloud.prepare()
    subnet = (await cloud.upForLaunches()).subnetId
    id = await cloud.launch('--instance-type', 't3.small')
    other = await cloud.launch()
    await cloud.areInState('running', id, other)
    // A start with several interfaces brings no automatic public address.
    const allocation = await ec2('AllocationId', 'allocate-address')
    await ec2('AssociationId', 'associate-address', '--allocation-id', allocation, '--instance-id', id)
    await cloud.sshAnswers(id)
    await cloud.sshAnswers(other)
  })
  afterAll(() => cloud.close())

  let nic: string
  let address: string
  let attachment: string
  const create = () => ec2('NetworkInterface.NetworkInterfaceId', 'create-network-interface', '--subnet-id', subnet)
  const attach = (interfaceId: string, instanceId: string, index: string) => ec2(
    'AttachmentId', 'attach-network-interface', '--network-interface-id', interfaceId, '--instance-id', instanceId, '--device-index', index)

  test('one that is attached to a running instance is found by its guest, which answers at its address', async () => {
    nic = await create()
    address = await ofInterface('PrivateIpAddress', nic)
    attachment = await attach(nic, id, '1')
    const uptime = await cloud.uptime(id)
    await isAttached(nic)
    await answersAt(address)
    expect(await macsIn(id)).toContain(await ofInterface('MacAddress', nic))
    expect(await cloud.uptime(id)).toBeGreaterThan(uptime)
  })

  test('an address more is taken up by the guest when it looks, and answered at', async () => {
    await ec2('NetworkInterfaceId', 'assign-private-ip-addresses', '--network-interface-id', nic, '--secondary-private-ip-address-count', '1')
    const [, more = ''] = (await ofInterface('PrivateIpAddresses[].PrivateIpAddress', nic)).split(/\s+/)
    expect(await reaches(more)).toBe(false)
    await cloud.until('the guest to take it up', 30_000, async () =>
      (await cloud.ssh(id, '/usr/lib/hearth/addresses eth1; ip addr show dev eth1')).includes(more))
    await answersAt(more)
  })

  test('it is in its place again when the instance was stopped and started', async () => {
    await cloud.awsJson('ec2', 'stop-instances', '--instance-ids', id)
    await cloud.areInState('stopped', id)
    await cloud.awsJson('ec2', 'start-instances', '--instance-ids', id)
    await cloud.isUp(id)
    await answersAt(address)
    expect((await macsIn(id))[1]).toBe(await ofInterface('MacAddress', nic))
  })

  test('a zone whose process dies while it plugs one in, or the moment after, goes on when it is back', async () => {
    for (const point of ['hypervisor.ensureNics:before', 'hypervisor.ensureNics:after', 'commit:instance.interfaces:before']) {
      await ec2('Return', 'detach-network-interface', '--attachment-id', attachment)
      await isAvailable(nic)
      const died = await cloud.crashAt(cloud.zone, point)
      attachment = await attach(nic, id, '1')
      await cloud.isReplaced(cloud.zone, died)
      await isAttached(nic)
      await answersAt(address)
      expect(await macsIn(id)).toHaveLength(2)
    }
  })

  test('one that is detached leaves its guest, and may go to another', async () => {
    await ec2('Return', 'detach-network-interface', '--attachment-id', attachment)
    await isAvailable(nic)
    expect(await macsIn(id)).toHaveLength(1)
    expect(await ofInterface('Attachment', nic)).toBe('None')
    attachment = await attach(nic, other, '1')
    await isAttached(nic)
    await cloud.until('the other guest to have it', 60_000, async () =>
      (await cloud.ssh(other, 'ip addr show dev eth1')).includes(`${address}/`))
  })

  test('a guest that stands still keeps one until it is taken by force', async () => {
    await cloud.ssh(other, '(sleep 1; halt -f) >/dev/null 2>&1 &')
    const primary = await ec2('Reservations[0].Instances[0].PrivateIpAddress', 'describe-instances', '--instance-ids', other)
    await cloud.until('the guest to stand still', 30_000, async () =>
      (await cloud.hearth('ssh', id, '--', `nc -w 2 ${primary} 22 </dev/null`)).code !== 0)
    await ec2('Return', 'detach-network-interface', '--attachment-id', attachment)
    expect(await ofInterface('Attachment.Status', nic)).toBe('detaching')
    await ec2('Return', 'detach-network-interface', '--attachment-id', attachment, '--force')
    await isAvailable(nic)
    await ec2('Return', 'delete-network-interface', '--network-interface-id', nic)
  })

  test('nothing of them is left', async () => {
    await ec2('TerminatingInstances', 'terminate-instances', '--instance-ids', id, other)
    await cloud.areInState('terminated', id, other)
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
  })
})
