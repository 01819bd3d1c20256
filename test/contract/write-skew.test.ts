import type {
  AllocateAddressResult, AssociateRouteTableResult, CreateInternetGatewayResult, CreateNetworkInterfaceResult,
  CreateRouteTableResult, CreateSubnetResult, CreateVpcResult, Reservation,
} from '@aws-sdk/client-ec2'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { DEFAULT_ACCOUNT, ensureAccount, PROVIDER_ACCOUNT } from '../../src/model/account.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { hasPostgres, newDatabase, openTestPostgres } from '../support/postgres.ts'
import { defaultNetwork, fixedClock, hostOf, insertHost, insertImage, NOW_MS, REGION, testContext } from '../support/rows.ts'
import type { WorkerAnswer } from '../support/store-worker.ts'
import { startStoreWorkers, type StoreWorkers } from '../support/store-workers.ts'

// Two calls that are each right alone, and together would leave what neither allows. Eight processes
// call at the same moment, over handlers and store as the API has them.

const PROCESSES = 8
const ROUNDS = 12

const kinds: { name: string; database: (folder: string) => Promise<string> }[] = [
  { name: 'SQLite', database: async (folder) => path.join(folder, 'hearth.db') },
  ...(hasPostgres() ? [{ name: 'PostgreSQL', database: () => newDatabase() }] : []),
]

describe.each(kinds)('calls from several processes on $name', ({ name, database }) => {
  let folder: string
  let store: Store
  let workers: StoreWorkers
  let imageId: string
  let subnetId: string
  let vpcId: string

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-skew-'))
    const where = await database(folder)
    store = name === 'SQLite' ? await openSqlite({ file: where, durability: 'full' }) : await openTestPostgres(where)
    const random = seededRandom(1)
    await store.transaction('setup', async (db) => {
      for (const accountId of [DEFAULT_ACCOUNT, PROVIDER_ACCOUNT]) {
        await ensureAccount(db, { clock: fixedClock, random, zones: [`${REGION}a`, `${REGION}b`, `${REGION}c`] }, { accountId, name: accountId })
      }
      await insertHost(db)
      const context = testContext(db, random)
      imageId = (await insertImage(context)).image_id
      const { subnet } = await defaultNetwork(context)
      subnetId = subnet.subnet_id
      vpcId = subnet.vpc_id
    })
    await setCapacity(1_000_000)
    workers = await startStoreWorkers(where, PROCESSES)
  })
  afterAll(async () => {
    await workers.close()
    await store.close()
    await rm(folder, { recursive: true })
  })

  /** Makes room for so many more vCPUs. */
  const setCapacity = (free: number) => store.transaction('capacity', (db) =>
    db
      .updateTable('hosts').set((eb) => ({ vcpus: eb('vcpus_used', '+', free), memory_mib: 1_000_000_000 }))
      .where('host_id', '=', hostOf(`${REGION}a`)).execute())
  const launch = (more: object = {}) => ({
    action: 'RunInstances',
    input: { ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId: subnetId, ...more },
  })
  const eight = (call: { action: string; input: object }) => workers.callAll(Array.from({ length: PROCESSES }, () => call))
  const one = async (action: string, input: object) => {
    const [answer] = await workers.callAll([{ action, input }])
    if (!answer || !('output' in answer)) throw new Error(`${action} failed: ${answer?.error}`)
    return answer.output
  }
  const newGroup = async (groupName: string) => {
    const { GroupId } = await one('CreateSecurityGroup', { GroupName: groupName, Description: 'test', VpcId: vpcId }) as { GroupId: string }
    return GroupId
  }
  /** "ok" or the error's code, sorted. */
  const outcomes = (answers: WorkerAnswer[]) => answers.map(outcomeOf).toSorted()
  const outcomeOf = (answer: WorkerAnswer | undefined) =>
    answer && 'output' in answer ? 'ok' : (answer?.error.startsWith('InternalError') ? answer.error : answer?.error.split(':')[0])

  test('a group is deleted, or an instance is launched into it, and never both', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const groupId = await newGroup(`members-${round}`)
      const [deleted, ...launched] = await workers.callAll([
        { action: 'DeleteSecurityGroup', input: { GroupId: groupId } },
        launch({ SecurityGroupIds: [groupId] }), launch({ SecurityGroupIds: [groupId] }),
      ])
      const result = [outcomeOf(deleted), ...outcomes(launched)].join()
      const members = await store.read((db) =>
        db.selectFrom('interface_groups').select('interface_id').where('group_id', '=', groupId).execute())
      const groups = await store.read((db) =>
        db.selectFrom('security_groups').select('group_id').where('group_id', '=', groupId).execute())
      expect([result, members.length, groups.length]).toBeOneOf([
        ['ok,InvalidGroup.NotFound,InvalidGroup.NotFound', 0, 0], ['DependencyViolation,ok,ok', 2, 1],
      ])
    }
  })

  test('a group is deleted, or a rule is made that refers to it, and never both', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const [groupId, peerId] = [await newGroup(`group-${round}`), await newGroup(`peer-${round}`)]
      const [deleted, allowed] = await workers.callAll([
        { action: 'DeleteSecurityGroup', input: { GroupId: peerId } },
        {
          action: 'AuthorizeSecurityGroupIngress',
          input: { GroupId: groupId, IpPermissions: [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: peerId }] }] },
        },
      ])
      expect([outcomeOf(deleted), outcomeOf(allowed)]).toBeOneOf([['ok', 'InvalidGroup.NotFound'], ['DependencyViolation', 'ok']])
    }
  })

  test('one of eight that want the same name for a group gets it', async () => {
    const answers = await eight({ action: 'CreateSecurityGroup', input: { GroupName: 'Same', Description: 'test', VpcId: vpcId } })
    expect(outcomes(answers)).toEqual([...Array.from({ length: 7 }, () => 'InvalidGroup.Duplicate'), 'ok'])
  })

  test('the last addresses of a subnet go to as many launches as there are addresses', async () => {
    const small = 'subnet-00000000000000028'
    await store.transaction('subnet', (db) =>
      db.insertInto('subnets').values({
        subnet_id: small, account_id: DEFAULT_ACCOUNT, vpc_id: vpcId, zone: `${REGION}a`, cidr: '172.31.240.0/28',
        default_for_az: 0, map_public_ip: 0, state: 'available', created_ms: NOW_MS, doc: '{}',
      }).execute())
    // Of sixteen addresses eleven can be had; four are left.
    await one('RunInstances', launch({ SubnetId: small, MinCount: 7, MaxCount: 7 }).input)
    const answers = await eight(launch({ SubnetId: small }))
    expect(outcomes(answers)).toEqual([
      ...Array.from({ length: 4 }, () => 'InsufficientFreeAddressesInSubnet'), ...Array.from({ length: 4 }, () => 'ok'),
    ])
    const used = await store.read((db) =>
      db.selectFrom('interfaces').select('private_ip').distinct().where('subnet_id', '=', small).execute())
    expect(used).toHaveLength(11)
  })

  test('the last capacity of a host goes to as many launches as it is enough for', async () => {
    await setCapacity(6)
    const answers = await eight(launch())
    expect(outcomes(answers)).toEqual([
      ...Array.from({ length: 5 }, () => 'InsufficientInstanceCapacity'), ...Array.from({ length: 3 }, () => 'ok'),
    ])
    const { host, promised } = await store.read(async (db) => ({
      host: await db.selectFrom('hosts').selectAll().where('host_id', '=', hostOf(`${REGION}a`)).executeTakeFirstOrThrow(),
      promised: await db
        .selectFrom('instances').select((eb) => eb.fn.sum<number>('vcpus').as('vcpus')).where('holds_capacity', '=', 1)
        .executeTakeFirstOrThrow(),
    }))
    expect([host.vcpus_used, promised.vcpus]).toEqual([host.vcpus, host.vcpus])
    await setCapacity(1_000_000)
  })

  test('one client token in eight calls makes one instance, which all of them are told of', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const answers = await eight(launch({ ClientToken: `token-${round}` }))
      expect(outcomes(answers)).toEqual(Array.from({ length: PROCESSES }, () => 'ok'))
      const reservations = answers.map((answer) => ('output' in answer ? answer.output as Reservation : undefined))
      expect(new Set(reservations.map((each) => each?.ReservationId)).size).toBe(1)
      expect(new Set(reservations.flatMap((each) => each?.Instances?.map((instance) => instance.InstanceId))).size).toBe(1)
    }
  })

  const newVpc = async () => (await one('CreateVpc', { CidrBlock: '10.0.0.0/16' }) as CreateVpcResult).Vpc?.VpcId ?? ''
  const newSubnet = async (VpcId: string, CidrBlock = '10.0.0.0/24') =>
    (await one('CreateSubnet', { VpcId, CidrBlock }) as CreateSubnetResult).Subnet?.SubnetId ?? ''
  const newRouteTable = async (VpcId: string) =>
    (await one('CreateRouteTable', { VpcId }) as CreateRouteTableResult).RouteTable?.RouteTableId ?? ''
  const newGateway = async () =>
    (await one('CreateInternetGateway', {}) as CreateInternetGatewayResult).InternetGateway?.InternetGatewayId ?? ''

  test('a VPC is deleted, or a subnet is made in it, and never both', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const VpcId = await newVpc()
      const [deleted, made] = await workers.callAll([
        { action: 'DeleteVpc', input: { VpcId } }, { action: 'CreateSubnet', input: { VpcId, CidrBlock: '10.0.0.0/24' } },
      ])
      expect([outcomeOf(deleted), outcomeOf(made)]).toBeOneOf([['ok', 'InvalidVpcID.NotFound'], ['DependencyViolation', 'ok']])
      if (!made || !('output' in made)) continue
      await one('DeleteSubnet', { SubnetId: (made.output as CreateSubnetResult).Subnet?.SubnetId })
      await one('DeleteVpc', { VpcId })
    }
  })

  test('a subnet is deleted, or an instance is launched into it, and never both', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const SubnetId = await newSubnet(vpcId, `172.31.${128 + round}.0/24`)
      const [deleted, launched] = await workers.callAll([{ action: 'DeleteSubnet', input: { SubnetId } }, launch({ SubnetId })])
      expect([outcomeOf(deleted), outcomeOf(launched)]).toBeOneOf([['ok', 'InvalidSubnetID.NotFound'], ['DependencyViolation', 'ok']])
    }
  })

  test('of eight subnets that overlap one is made', async () => {
    const VpcId = await newVpc()
    const answers = await workers.callAll(Array.from({ length: PROCESSES }, (_, n) => (
      { action: 'CreateSubnet', input: { VpcId, CidrBlock: `10.0.0.0/${20 + n}` } })))
    expect(outcomes(answers)).toEqual([...Array.from({ length: 7 }, () => 'InvalidSubnet.Conflict'), 'ok'])
    const [{ subnet_id: SubnetId } = { subnet_id: '' }] = await store.read((db) =>
      db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', VpcId).execute())
    await one('DeleteSubnet', { SubnetId })
    await one('DeleteVpc', { VpcId })
  })

  test('a route table is deleted with its routes, or used by a subnet, and leaves nothing', async () => {
    const VpcId = await newVpc()
    const InternetGatewayId = await newGateway()
    await one('AttachInternetGateway', { InternetGatewayId, VpcId })
    const SubnetId = await newSubnet(VpcId)
    for (let round = 0; round < ROUNDS; round++) {
      const RouteTableId = await newRouteTable(VpcId)
      const [deleted, routed, used] = await workers.callAll([
        { action: 'DeleteRouteTable', input: { RouteTableId } },
        { action: 'CreateRoute', input: { RouteTableId, DestinationCidrBlock: '0.0.0.0/0', GatewayId: InternetGatewayId } },
        { action: 'AssociateRouteTable', input: { RouteTableId, SubnetId } },
      ])
      // A route that came first goes with its table.
      expect(outcomeOf(routed)).toBeOneOf(outcomeOf(deleted) === 'ok' ? ['ok', 'InvalidRouteTableID.NotFound'] : ['ok'])
      expect([outcomeOf(deleted), outcomeOf(used)]).toBeOneOf([['ok', 'InvalidRouteTableID.NotFound'], ['DependencyViolation', 'ok']])
      if (used && 'output' in used) await one('DisassociateRouteTable', { AssociationId: (used.output as AssociateRouteTableResult).AssociationId })
      const routes = await store.read((db) =>
        db.selectFrom('routes').select('destination').where('route_table_id', '=', RouteTableId).execute())
      expect(routes).toHaveLength(outcomeOf(deleted) === 'ok' ? 0 : 1)
      if (outcomeOf(deleted) !== 'ok') await one('DeleteRouteTable', { RouteTableId })
    }
    await one('DetachInternetGateway', { InternetGatewayId, VpcId })
    await one('DeleteSubnet', { SubnetId })
    await one('DeleteVpc', { VpcId })
    await one('DeleteInternetGateway', { InternetGatewayId })
  })

  test('one of four internet gateways gets the VPC, and a subnet one of eight route tables', async () => {
    const VpcId = await newVpc()
    const SubnetId = await newSubnet(VpcId)
    const gateways = [await newGateway(), await newGateway(), await newGateway(), await newGateway()]
    const attached = await workers.callAll(gateways.map((InternetGatewayId) => (
      { action: 'AttachInternetGateway', input: { InternetGatewayId, VpcId } })))
    expect(outcomes(attached)).toEqual(['InvalidParameterValue', 'InvalidParameterValue', 'InvalidParameterValue', 'ok'])
    const RouteTableId = await newRouteTable(VpcId)
    const used = await eight({ action: 'AssociateRouteTable', input: { RouteTableId, SubnetId } })
    expect(outcomes(used)).toEqual([...Array.from({ length: 7 }, () => 'Resource.AlreadyAssociated'), 'ok'])
    // Of the default VPC there is one already, so that these are as many VPCs as an account may have.
    expect(outcomes(await eight({ action: 'CreateVpc', input: { CidrBlock: '10.9.0.0/16' } })))
      .toEqual([...Array.from({ length: 5 }, () => 'VpcLimitExceeded'), 'ok', 'ok', 'ok'])
  })

  test('one client token in eight calls makes one route table', async () => {
    const answers = await eight({ action: 'CreateRouteTable', input: { VpcId: vpcId, ClientToken: 'one-table' } })
    expect(outcomes(answers)).toEqual(Array.from({ length: PROCESSES }, () => 'ok'))
    const tables = answers.map((answer) => ('output' in answer ? answer.output as CreateRouteTableResult : undefined))
    expect(new Set(tables.map((each) => each?.RouteTable?.RouteTableId)).size).toBe(1)
  })

  const newInterface = async (more: object = {}) => {
    const { NetworkInterface: created } = await one('CreateNetworkInterface', { SubnetId: subnetId, ...more }) as CreateNetworkInterfaceResult
    return created?.NetworkInterfaceId ?? ''
  }
  /** Every private address of the VPC, primary and secondary. */
  const privateAddresses = () => store.read(async (db) => {
    const primary = await db.selectFrom('interfaces').select('private_ip').where('vpc_id', '=', vpcId).execute()
    const secondary = await db.selectFrom('interface_addresses').select('private_ip').where('vpc_id', '=', vpcId).execute()
    return [...primary, ...secondary].map((row) => row.private_ip)
  })

  test('the last addresses of a subnet are primary or secondary ones, and none is both', async () => {
    const small = 'subnet-00000000000000029'
    await store.transaction('subnet', (db) =>
      db.insertInto('subnets').values({
        subnet_id: small, account_id: DEFAULT_ACCOUNT, vpc_id: vpcId, zone: `${REGION}a`, cidr: '172.31.241.0/28',
        default_for_az: 0, map_public_ip: 0, state: 'available', created_ms: NOW_MS, doc: '{}',
      }).execute())
    // Of eleven addresses three are left.
    const ids = [await newInterface({ SubnetId: small, SecondaryPrivateIpAddressCount: 6 }), await newInterface({ SubnetId: small })]
    const answers = await workers.callAll(Array.from({ length: PROCESSES }, (_each, index) => index % 2 === 0
      ? { action: 'CreateNetworkInterface', input: { SubnetId: small } }
      : { action: 'AssignPrivateIpAddresses', input: { NetworkInterfaceId: ids[index % 4 === 1 ? 0 : 1], SecondaryPrivateIpAddressCount: 1 } }))
    expect(outcomes(answers)).toEqual([
      ...Array.from({ length: 5 }, () => 'InsufficientFreeAddressesInSubnet'), ...Array.from({ length: 3 }, () => 'ok'),
    ])
    const used = (await privateAddresses()).filter((address) => address.startsWith('172.31.241.'))
    expect([used.length, new Set(used).size]).toEqual([11, 11])
  })

  test('an address that several want, as a primary or a secondary one, goes to one', async () => {
    const ids = [await newInterface(), await newInterface()]
    // Some are others', which drew theirs at random.
    const taken = await privateAddresses()
    const free = Array.from({ length: 200 }, (_, index) => `172.31.2.${10 + index}`).filter((each) => !taken.includes(each))
    for (const address of free.slice(0, ROUNDS)) {
      const answers = await workers.callAll([
        { action: 'CreateNetworkInterface', input: { SubnetId: subnetId, PrivateIpAddress: address } },
        ...ids.map((id) => ({ action: 'AssignPrivateIpAddresses', input: { NetworkInterfaceId: id, PrivateIpAddresses: [address] } })),
      ])
      expect(outcomes(answers).filter((each) => each === 'ok')).toHaveLength(1)
      expect(outcomes(answers).filter((each) => each !== 'ok').every((each) =>
        ['InvalidIPAddress.InUse', 'Resource.AlreadyAssigned'].includes(each ?? ''))).toBe(true)
      expect((await privateAddresses()).filter((each) => each === address)).toHaveLength(1)
    }
  })

  test('an Elastic IP that two calls associate belongs to one interface, and moves only where it may', async () => {
    const ids = [await newInterface(), await newInterface()]
    const { AllocationId, PublicIp = '' } = await one('AllocateAddress', {}) as AllocateAddressResult
    const holders = () => store.read(async (db) => ({
      shown: await db.selectFrom('interfaces').select('interface_id').where('public_ip', '=', PublicIp).execute(),
      address: await db.selectFrom('addresses').select(['interface_id', 'association_id']).where('public_ip', '=', PublicIp).executeTakeFirstOrThrow(),
    }))
    for (let round = 0; round < ROUNDS; round++) {
      const mayMove = round % 2 === 0
      const answers = await workers.callAll(ids.map((id) => ({
        action: 'AssociateAddress', input: { AllocationId, NetworkInterfaceId: id, AllowReassociation: mayMove },
      })))
      expect(outcomes(answers)).toEqual(mayMove ? ['ok', 'ok'] : ['Resource.AlreadyAssociated', 'ok'])
      const { shown, address } = await holders()
      expect(shown).toEqual([{ interface_id: address.interface_id }])
      await one('DisassociateAddress', { AssociationId: address.association_id ?? '' })
      expect((await holders()).shown).toEqual([])
    }
    await one('ReleaseAddress', { AllocationId })
  })

  test('eight calls allocate no more Elastic IPs than the quota', async () => {
    const answers = await eight({ action: 'AllocateAddress', input: {} })
    expect(outcomes(answers)).toEqual([...Array.from({ length: 3 }, () => 'AddressLimitExceeded'), ...Array.from({ length: 5 }, () => 'ok')])
  })

  test('an interface that two instances want is attached to one', async () => {
    const launched = await one('RunInstances', launch({ MinCount: 2, MaxCount: 2 }).input) as Reservation
    for (let round = 0; round < ROUNDS; round++) {
      const id = await newInterface()
      const answers = await workers.callAll((launched.Instances ?? []).map((each) => ({
        action: 'AttachNetworkInterface', input: { NetworkInterfaceId: id, InstanceId: each.InstanceId, DeviceIndex: 1 },
      })))
      expect(outcomes(answers)).toEqual(['InvalidNetworkInterface.InUse', 'ok'])
      // What an agent does, that the next round finds room.
      await store.transaction('detached', (db) => db
        .updateTable('interfaces').set({ instance_id: null, host_id: null, slot: null, status: 'available', wanted: 0 })
        .where('interface_id', '=', id).execute())
    }
  })
})
