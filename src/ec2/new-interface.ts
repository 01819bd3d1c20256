import { newId } from '../core/ids.ts'
import { claimPrivateAddress, pickPrivateAddress, pickPublicAddress, type PickOptions } from '../model/address.ts'
import { newMac, type InterfaceDoc } from '../model/interface.ts'
import { ensureSlot } from '../model/slot.ts'
import { insertRow } from '../store/prepared.ts'
import type { InstanceTable, InterfaceTable, SubnetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { addSecondaryAddresses, type AddressRequest } from './interface-addresses.ts'
import { insertTags, type TagInput } from './tags.ts'

/** What somebody wants a new interface to be. */
export interface NewInterface {
  subnet: SubnetTable
  /** In the order given; at least one. */
  groupIds: string[]
  description: string
  addresses: AddressRequest
}

/** Where an interface is attached. */
export interface Attachment {
  instance: InstanceTable
  deviceIndex: number
  deleteOnTermination: boolean
  /** Whether each start gives it a public address. */
  assignPublicIp: boolean
}

/**
 * Writes the rows of a new interface, attached where `attachment` is given; whoever calls marks its
 * port due. `reserved` are addresses that the same call gives to others.
 *
 * @throws ApiError of addresses that cannot be had.
 */
export async function insertInterface(
  context: Context,
  interfaceId: string,
  wanted: NewInterface,
  { attachment, tags, reserved = [] }: { attachment?: Attachment; tags: readonly TagInput[]; reserved?: readonly string[] },
): Promise<void> {
  const { db, account, random, nowMs } = context
  const { subnet, addresses, groupIds } = wanted
  const options: PickOptions = {
    asker: attachment ? 'launch' : 'interface', except: [...reserved, ...addresses.secondary],
  }
  await insertRow(db, 'interfaces', {
    interface_id: interfaceId, account_id: account, vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id, zone: subnet.zone,
    private_ip: addresses.primary === null
      ? await pickPrivateAddress(db, random, subnet, options)
      : await claimPrivateAddress(db, subnet, addresses.primary),
    mac: newMac(random),
    public_ip: attachment?.assignPublicIp ? await pickPublicAddress(db, random, context.publicPool) : null,
    ready: 0, created_ms: nowMs, revision: 1, synced_revision: 0, source_dest_check: 1, requester_id: null,
    ...(attachment
      ? await attachedColumns(context, { interfaceId, description: wanted.description }, attachment)
      : {
        instance_id: null, host_id: null, slot: null, device_index: 0, status: 'available', wanted: 0,
        delete_on_termination: 0, doc: docText({ description: wanted.description }),
      }),
  })
  await addSecondaryAddresses(context, { interfaceId, subnet }, addresses, options)
  for (const [position, groupId] of groupIds.entries()) {
    await insertRow(db, 'interface_groups', { interface_id: interfaceId, group_id: groupId, position })
  }
  await insertTags(db, account, 'network-interface', interfaceId, tags)
}

type AttachedColumns = Pick<
  InterfaceTable,
  'instance_id' | 'host_id' | 'slot' | 'device_index' | 'status' | 'wanted' | 'delete_on_termination' | 'doc'
>

/** What an interface has while it is attached: to an instance that is up or coming up, or to a stopped one. */
export async function attachedColumns(
  { db, random, nowMs }: Context,
  { interfaceId, description }: { interfaceId: string; description: string },
  { instance, deviceIndex, deleteOnTermination, assignPublicIp }: Attachment,
): Promise<AttachedColumns> {
  const isStopped = instance.state === 'stopped'
  return {
    instance_id: instance.instance_id, host_id: instance.node_id,
    // The primary one has its instance's slot.
    slot: deviceIndex === 0 ? instance.slot : await ensureSlot(db, random, instance.node_id, 'machine', interfaceId),
    device_index: deviceIndex, status: isStopped ? 'in-use' : 'pending', wanted: isStopped ? 0 : 1,
    delete_on_termination: deleteOnTermination ? 1 : 0,
    doc: docText({ description, attachmentId: newId(random, 'eni-attach'), attachMs: nowMs, assignPublicIp }),
  }
}

function docText(doc: Partial<InterfaceDoc>): string {
  return JSON.stringify({ description: '', attachmentId: '', attachMs: 0, assignPublicIp: false, ...doc } satisfies InterfaceDoc)
}
