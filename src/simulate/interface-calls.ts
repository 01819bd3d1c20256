import { pick, type Random } from '../core/random.ts'
import { interfaceDoc } from '../model/interface.ts'
import type { ServiceName } from '../protocol/model.ts'
import type { SimulatedCloud } from './simulator.ts'

/** A call to be made. */
export interface DrawnCall {
  /** EC2 unless said. */
  service?: ServiceName
  action: string
  input: object
}

/** What calls may name, as it is now; each list in the order of its ids. */
interface Nouns {
  subnetIds: string[]
  instanceIds: string[]
  interfaceIds: string[]
  /** Of those that nothing has. */
  freeIds: string[]
  /** Of secondary interfaces. */
  attachmentIds: string[]
  secondary: { interfaceId: string; address: string }[]
  allocationIds: string[]
  associationIds: string[]
}

/**
 * A random call about interfaces or Elastic IPs. It may well be refused (what it names is in use,
 * gone by the time, or full): that nothing came of it then, and what should where it was not, is for
 * the invariants to tell.
 */
export async function drawInterfaceCall(cloud: SimulatedCloud): Promise<DrawnCall | undefined> {
  const nouns = await loadNouns(cloud)
  const calls = callsWith(cloud.random, nouns)
  return calls.length === 0 ? undefined : pick(cloud.random, calls)
}

/** Two new interfaces for a launch that is to have them, in a subnet where there is one. */
export async function drawTwoInterfaces(cloud: SimulatedCloud): Promise<object[]> {
  const { subnetIds } = await loadNouns(cloud)
  if (subnetIds.length === 0) return []
  const SubnetId = pick(cloud.random, subnetIds)
  return [0, 1].map((DeviceIndex) => ({
    DeviceIndex, SubnetId, DeleteOnTermination: cloud.random.int(3) > 0, SecondaryPrivateIpAddressCount: cloud.random.int(2),
  }))
}

function loadNouns({ store }: SimulatedCloud): Promise<Nouns> {
  return store.read(async (db) => {
    const interfaces = await db
      .selectFrom('interfaces').select(['interface_id', 'instance_id', 'device_index', 'doc'])
      .where('status', '<>', 'removing').orderBy('interface_id').execute()
    const addresses = await db
      .selectFrom('addresses').select(['allocation_id', 'association_id']).orderBy('allocation_id').execute()
    const secondary = await db
      .selectFrom('interface_addresses').select(['interface_id', 'private_ip']).orderBy('private_ip').execute()
    return {
      subnetIds: (await db.selectFrom('subnets').select('subnet_id').orderBy('subnet_id').execute()).map((row) => row.subnet_id),
      instanceIds: (await db
        .selectFrom('instances').select('instance_id').where('state', '<>', 'terminated').orderBy('instance_id').execute())
        .map((row) => row.instance_id),
      interfaceIds: interfaces.map((row) => row.interface_id),
      freeIds: interfaces.filter((row) => row.instance_id === null).map((row) => row.interface_id),
      attachmentIds: interfaces.filter((row) => row.instance_id !== null && row.device_index > 0).map((row) => interfaceDoc(row).attachmentId),
      secondary: secondary.map((row) => ({ interfaceId: row.interface_id, address: row.private_ip })),
      allocationIds: addresses.map((row) => row.allocation_id),
      associationIds: addresses.flatMap((row) => row.association_id ?? []),
    }
  })
}

/** One call of each kind for which there is something to name. */
function callsWith(random: Random, nouns: Nouns): DrawnCall[] {
  const { subnetIds, instanceIds, interfaceIds, freeIds, attachmentIds, secondary, allocationIds, associationIds } = nouns
  const calls: DrawnCall[] = [{ action: 'AllocateAddress', input: {} }]
  if (subnetIds.length > 0) {
    const input = { SubnetId: pick(random, subnetIds), SecondaryPrivateIpAddressCount: random.int(2) }
    calls.push({ action: 'CreateNetworkInterface', input })
  }
  if (interfaceIds.length > 0) {
    const NetworkInterfaceId = pick(random, interfaceIds)
    calls.push(
      { action: 'DeleteNetworkInterface', input: { NetworkInterfaceId } },
      { action: 'AssignPrivateIpAddresses', input: { NetworkInterfaceId, SecondaryPrivateIpAddressCount: 1 } },
      { action: 'ModifyNetworkInterfaceAttribute', input: { NetworkInterfaceId, SourceDestCheck: { Value: random.int(2) === 0 } } },
    )
    if (instanceIds.length > 0) {
      const some = { InstanceId: pick(random, instanceIds), DeviceIndex: 1 + random.int(2) }
      calls.push({ action: 'AttachNetworkInterface', input: { ...some, NetworkInterfaceId } })
      if (freeIds.length > 0) {
        const input = { ...some, NetworkInterfaceId: pick(random, freeIds) }
        calls.push({ action: 'AttachNetworkInterface', input }, { action: 'AttachNetworkInterface', input })
      }
    }
    if (secondary.length > 0) {
      const { interfaceId, address } = pick(random, secondary)
      calls.push(
        { action: 'UnassignPrivateIpAddresses', input: { NetworkInterfaceId: interfaceId, PrivateIpAddresses: [address] } },
        { action: 'AssignPrivateIpAddresses', input: { NetworkInterfaceId, PrivateIpAddresses: [address], AllowReassignment: true } },
      )
    }
    if (allocationIds.length > 0) {
      calls.push({ action: 'AssociateAddress', input: { AllocationId: pick(random, allocationIds), NetworkInterfaceId } })
    }
  }
  if (attachmentIds.length > 0) {
    const detach = { action: 'DetachNetworkInterface', input: { AttachmentId: pick(random, attachmentIds), Force: random.int(3) === 0 } }
    calls.push(detach, detach, detach)
  }
  if (allocationIds.length > 0) {
    const AllocationId = pick(random, allocationIds)
    calls.push({ action: 'ReleaseAddress', input: { AllocationId } })
    if (instanceIds.length > 0) {
      calls.push({ action: 'AssociateAddress', input: { AllocationId, InstanceId: pick(random, instanceIds) } })
    }
  }
  if (associationIds.length > 0) calls.push({ action: 'DisassociateAddress', input: { AssociationId: pick(random, associationIds) } })
  return calls
}
