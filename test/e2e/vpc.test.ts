import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Where the world is, seen from the cloud's host. */
const WORLD = '203.0.113.99'

describe.skipIf(whyNotReal !== undefined)(`a VPC with real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('vpc')
  const world = `${cloud.namespace}-world`
  /** Ids of what was made, by what it is for. */
  const ids: Record<string, string> = {}

  const ip = (...words: string[]) => execFileSync('ip', words)

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)

  /** Whether a command in a guest, reached over another one where it has no public address, succeeds. */
  const inPublic = async (command: string) => (await cloud.hearth('ssh', ids.public ?? '', '--', command)).code === 0
  const pings = (address: string) => inPublic(`ping -c 1 -W 2 ${address}`)

  beforeAll(async () => {
    await cloud.prepare()
    ip('netns', 'add', world)
    ip('-n', cloud.namespace, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world)
    ip('-n', cloud.namespace, 'addr', 'add', '203.0.113.1/24', 'dev', 'up0')
    ip('-n', cloud.namespace, 'link', 'set', 'up0', 'up')
    ip('-n', world, 'addr', 'add', `${WORLD}/24`, 'dev', 'eth0')
    ip('-n', world, 'link', 'set', 'eth0', 'up')
    await cloud.upForLaunches()
    ids.vpc = await ec2('Vpc.VpcId', 'create-vpc', '--cidr-block', '10.20.0.0/16')
    ids.gateway = await ec2('InternetGateway.InternetGatewayId', 'create-internet-gateway')
    await ec2('Return', 'attach-internet-gateway', '--internet-gateway-id', ids.gateway, '--vpc-id', ids.vpc)
    for (const [name, block] of [['publicSubnet', '10.20.1.0/24'], ['privateSubnet', '10.20.2.0/24']] as const) {
      ids[name] = await ec2('Subnet.SubnetId', 'create-subnet', '--vpc-id', ids.vpc, '--cidr-block', block)
    }
    ids.publicTable = await ec2('RouteTable.RouteTableId', 'create-route-table', '--vpc-id', ids.vpc)
    ids.privateTable = await ec2('RouteTable.RouteTableId', 'create-route-table', '--vpc-id', ids.vpc)
    await ec2('Return', 'create-route', '--route-table-id', ids.publicTable, '--destination-cidr-block', '0.0.0.0/0', '--gateway-id', ids.gateway)
    await ec2('AssociationId', 'associate-route-table', '--route-table-id', ids.publicTable, '--subnet-id', ids.publicSubnet ?? '')
    await ec2('AssociationId', 'associate-route-table', '--route-table-id', ids.privateTable, '--subnet-id', ids.privateSubnet ?? '')
    ids.group = await ec2('GroupId', 'create-security-group', '--group-name', 'web', '--description', 'web', '--vpc-id', ids.vpc)
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', ids.group, '--protocol', 'tcp', '--port', '22', '--cidr', '0.0.0.0/0')
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', ids.group, '--protocol', 'icmp', '--port', '-1', '--source-group', ids.group)
    const launch = (subnet: string, ...more: string[]) =>
      cloud.launch('--subnet-id', subnet, '--security-group-ids', ids.group ?? '', ...more)
    ids.public = await launch(ids.publicSubnet ?? '', '--associate-public-ip-address')
    ids.private = await launch(ids.privateSubnet ?? '')
    await cloud.areInState('running', ids.public, ids.private)
    await cloud.sshAnswers(ids.public)
    ids.privateIp = await ec2('Reservations[0].Instances[0].PrivateIpAddress', 'describe-instances', '--instance-ids', ids.private)
    ids.publicIp = await ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances', '--instance-ids', ids.public)
  })

  afterAll(async () => {
    await cloud.close()
    ip('netns', 'del', world)
  })

  /** A command in the guest of the private subnet, over the public one. */
  const inPrivate = async (command: string) => {
    const options = ['-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=5']
    const jump = ['ssh', ...options, '-W', '%h:%p', `root@${ids.publicIp}`].join(' ')
    return (await cloud.run('ssh', [...options, '-o', `ProxyCommand=${jump}`, `root@${ids.privateIp}`, command])).code === 0
  }

  test('a group that names itself lets its members reach each other, until the rule is revoked', async () => {
    await cloud.until('the private guest to answer', 60_000, () => pings(ids.privateIp ?? ''))
    await ec2('Return', 'revoke-security-group-ingress', '--group-id', ids.group ?? '', '--protocol', 'icmp', '--port', '-1', '--source-group', ids.group ?? '')
    await cloud.until('the rule to be gone', 20_000, async () => !(await pings(ids.privateIp ?? '')))
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', ids.group ?? '', '--protocol', 'icmp', '--port', '-1', '--source-group', ids.group ?? '')
    await cloud.until('the rule to be back', 20_000, () => pings(ids.privateIp ?? ''))
  })

  test('a public subnet reaches the world, and why-not says what keeps the private one', async () => {
    expect(await pings(WORLD)).toBe(true)
    const why = await cloud.hearth('why-not', ids.private ?? '', WORLD, '--protocol', 'icmp')
    expect(why.code).toBe(1)
    expect(why.stdout).toContain(ids.privateTable)
  })

  test('an Elastic IP moves between running instances', async () => {
    const [allocation = '', address = ''] = (await ec2('[AllocationId,PublicIp]', 'allocate-address')).split(/\s+/)
    ids.allocation = allocation
    // A connection that the move cuts in its middle says nothing any more.
    const nameAt = async () => (await cloud.run('timeout', [
      '10', 'ssh', '-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=3',
      `root@${address}`, 'uname -n',
    ])).stdout.trim()
    await ec2('AssociationId', 'associate-address', '--allocation-id', allocation, '--instance-id', ids.public ?? '')
    await cloud.until('the address to lead to the first', 30_000, async () => (await nameAt()).startsWith('ip-10-20-1-'))
    const second = await ec2(
      'NetworkInterfaces[0].NetworkInterfaceId', 'describe-network-interfaces', '--filters', `Name=attachment.instance-id,Values=${ids.private}`)
    // The private subnet has no route to the internet gateway: answers would not find their way.
    await ec2('Return', 'create-route', '--route-table-id', ids.privateTable ?? '', '--destination-cidr-block', '0.0.0.0/0', '--gateway-id', ids.gateway ?? '')
    await ec2('AssociationId', 'associate-address', '--allocation-id', allocation, '--network-interface-id', second, '--allow-reassociation')
    await cloud.until('the address to lead to the second', 30_000, async () => (await nameAt()).startsWith('ip-10-20-2-'))
    await ec2('Return', 'delete-route', '--route-table-id', ids.privateTable ?? '', '--destination-cidr-block', '0.0.0.0/0')
    await ec2('Return', 'disassociate-address', '--association-id', await ec2('Addresses[0].AssociationId', 'describe-addresses'))
    await cloud.sshAnswers(ids.public ?? '')
    // With the Elastic IP gone it has an automatic one again, another than before.
    ids.publicIp = await ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances', '--instance-ids', ids.public ?? '')
  })

  test('a private subnet reaches the world through a NAT gateway, and only with it', async () => {
    const reaches = () => inPrivate(`ping -c 1 -W 2 ${WORLD}`)
    expect(await inPrivate('true')).toBe(true)
    expect(await reaches()).toBe(false)
    ids.nat = await ec2(
      'NatGateway.NatGatewayId', 'create-nat-gateway', '--subnet-id', ids.publicSubnet ?? '', '--allocation-id', ids.allocation ?? '')
    await cloud.until('the NAT gateway to be available', 60_000, async () =>
      (await ec2('NatGateways[0].State', 'describe-nat-gateways', '--nat-gateway-ids', ids.nat ?? '')) === 'available')
    await ec2('Return', 'create-route', '--route-table-id', ids.privateTable ?? '', '--destination-cidr-block', '0.0.0.0/0', '--nat-gateway-id', ids.nat)
    await cloud.until('the world to answer', 30_000, reaches)
    await ec2('NatGatewayId', 'delete-nat-gateway', '--nat-gateway-id', ids.nat)
    await cloud.until('the world to be out of reach', 30_000, async () => !(await reaches()))
  })

  test('nothing of it is left once it was taken down in order', async () => {
    await ec2('TerminatingInstances', 'terminate-instances', '--instance-ids', ids.public ?? '', ids.private ?? '')
    await cloud.areInState('terminated', ids.public ?? '', ids.private ?? '')
    await ec2('Return', 'release-address', '--allocation-id', ids.allocation ?? '')
    const refused = await cloud.aws('ec2', 'delete-vpc', '--vpc-id', ids.vpc ?? '')
    expect(refused.stderr).toContain('DependencyViolation')
    for (const subnet of ['publicSubnet', 'privateSubnet']) {
      await cloud.until(`${subnet} to be deleted`, 30_000, async () =>
        (await cloud.aws('ec2', 'delete-subnet', '--subnet-id', ids[subnet] ?? '')).code === 0)
    }
    for (const table of ['publicTable', 'privateTable']) await ec2('Return', 'delete-route-table', '--route-table-id', ids[table] ?? '')
    await ec2('Return', 'detach-internet-gateway', '--internet-gateway-id', ids.gateway ?? '', '--vpc-id', ids.vpc ?? '')
    await ec2('Return', 'delete-internet-gateway', '--internet-gateway-id', ids.gateway ?? '')
    await ec2('Return', 'delete-security-group', '--group-id', ids.group ?? '')
    await ec2('Return', 'delete-vpc', '--vpc-id', ids.vpc ?? '')
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
  })
})
