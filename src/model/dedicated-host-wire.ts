import type { AvailableCapacity, Host, HostInstance, Tag } from '@aws-sdk/client-ec2'
import type { DedicatedHostTable, ZoneTable } from '../store/schema.ts'
import { dedicatedHostDoc, roomFor, stateOfDedicatedHost } from './dedicated-host.ts'
import { sizeOfType, threadsPerCoreOf, typesOfFamily } from './dedicated-host-types.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of a dedicated host beside its own row. */
export interface DedicatedHostRelated {
  zoneState: ZoneTable['state']
  instances: HostInstance[]
  tags: Tag[]
}

/** A dedicated host as DescribeHosts shows it. */
export function dedicatedHostToWire(row: DedicatedHostTable, { zoneState, instances, tags }: DedicatedHostRelated): Host {
  const doc = dedicatedHostDoc(row)
  return {
    HostId: row.dedicated_host_id,
    OwnerId: row.account_id,
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    State: stateOfDedicatedHost(row, zoneState),
    AutoPlacement: doc.autoPlacement,
    AllowsMultipleInstanceTypes: doc.instanceType === null ? 'on' : 'off',
    HostRecovery: 'off',
    HostMaintenance: 'off',
    HostProperties: {
      // One that takes all sizes names its family, one for a single type names that alone.
      ...(doc.instanceType === null ? { InstanceFamily: doc.instanceFamily } : { InstanceType: doc.instanceType }),
      Cores: Math.floor(row.vcpus / threadsPerCoreOf(doc.instanceFamily)), Sockets: 1, TotalVCpus: row.vcpus,
    },
    AvailableCapacity: availableCapacity(row),
    Instances: instances,
    AllocationTime: new Date(row.created_ms),
    ReleaseTime: row.released_ms === null ? undefined : new Date(row.released_ms),
    ClientToken: doc.clientToken ?? undefined,
    MemberOfServiceLinkedResourceGroup: false,
    Tags: tags,
  }
}

function availableCapacity(row: DedicatedHostTable): AvailableCapacity {
  if (row.state === 'released') return { AvailableInstanceCapacity: [], AvailableVCpus: 0 }
  const { instanceType, instanceFamily } = dedicatedHostDoc(row)
  const total = { vcpus: row.vcpus, memoryMib: row.memory_mib }
  const free = { vcpus: row.vcpus - row.vcpus_used, memoryMib: row.memory_mib - row.memory_mib_used }
  const types = instanceType === null ? typesOfFamily(instanceFamily) : [sizeOfType(instanceType)]
  return {
    AvailableVCpus: free.vcpus,
    AvailableInstanceCapacity: types.filter((type) => roomFor(total, type) > 0).map((type) => ({
      InstanceType: type.name, AvailableCapacity: roomFor(free, type), TotalCapacity: roomFor(total, type),
    })),
  }
}
