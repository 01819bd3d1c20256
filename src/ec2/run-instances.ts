import type { Reservation, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import type { FleetMemberDoc } from '../model/fleet-spec.ts'
import { ARCHITECTURES, imageDoc } from '../model/image.ts'
import type { InstanceDoc } from '../model/instance.ts'
import { ANYWHERE, type PlacementWish } from '../model/placement.ts'
import { takeSlot } from '../model/slot.ts'
import { isSameDevice } from '../model/volume-device.ts'
import { insertRow, prepared } from '../store/prepared.ts'
import type { ImageTable, InstanceTable } from '../store/schema.ts'
import { resolveImageId } from '../ssm/resolve-image.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { loadInstances } from './describe-instances.ts'
import { requireVisibleImage } from './image-rows.ts'
import { checkTokensEnforced, metadataSettings } from './instance-metadata-defaults.ts'
import { attach } from './attach-network-interface.ts'
import { requestedHibernation } from './launch-hibernation.ts'
import { boundTo, countReservedPlaces, placeOf, takePlaces, type PlaceRequest, type TakenPlace } from './launch-placement.ts'
import { networkIn, requestedNetwork, type LaunchNetwork } from './launch-network.ts'
import { insertInterface } from './new-interface.ts'
import { instanceMoved } from '../model/instance-moved.ts'
import { toReservations } from '../model/instance-wire.ts'
import type { InterruptionBehavior } from '../model/spot-request.ts'
import { checkEnum } from './parameters.ts'
import {
  checkRunInstances, requestedMetadataOptions, requestedType, requestedUserData,
} from './run-instances-input.ts'
import { requestedPlacement } from './requested-placement.ts'
import { requestedOptions } from './run-instances-options.ts'
import { withLaunchTemplate, type UsedTemplate } from './run-instances-template.ts'
import { claimLaunchToken } from './run-instances-token.ts'
import { insertVolumes, requestedVolumes, type VolumeRequest } from './run-instances-volumes.ts'
import { launchSpotInstances } from './spot-launch.ts'
import { requestedMarket } from './spot-offer.ts'
import { takeSpotPlaces, type SpotPlaces } from './spot-places.ts'
import { promiseRoom } from './take-over-room.ts'
import { insertTags, parseTagSpecifications, type TagInput } from './tags.ts'

/** Everything that all instances of one call have in common. */
interface Launch {
  reservationId: string
  image: ImageTable
  type: { name: string; vcpus: number; memoryMib: number }
  network: LaunchNetwork
  wish: PlacementWish
  volumes: VolumeRequest[]
  keyName: string | null
  clientToken: string | null
  doc: Omit<InstanceDoc, 'uuid'>
  tags: Map<string, TagInput[]>
}

/**
 * RunInstances: decides, writes the rows of instances, interfaces and volumes, and marks them due.
 * Nothing outside has happened when it answers `pending`.
 */
export async function runInstances(context: Context, asked: RunInstancesRequest): Promise<Reservation> {
  const reservationId = newId(context.random, 'r')
  // First: what was launched stays the answer when its template has gone.
  const earlier = await claimLaunchToken(context, asked, reservationId)
  if (earlier) return answer(context, earlier, await instancesOf(context.db, earlier))
  const { input, template } = await withLaunchTemplate(context, asked)
  const spot = requestedMarket(input, context.nowMs)
  const origin = { reservationId, tags: templateTags(template) }
  if (spot) await launchSpotInstances(context, spot, origin)
  else return answer(context, reservationId, (await launchInstances(context, withoutMarket(input), origin)).instances)
  return answer(context, reservationId, await instancesOf(context.db, reservationId))
}

/** Who launches. */
export interface LaunchOrigin {
  reservationId: string
  tags: readonly TagInput[]
  /** The requests that the instances fulfil, one for each of them, and what they offer; null on demand. */
  spot?: ({ requestIds: readonly string[]; behavior: InterruptionBehavior } & SpotPlaces) | null
  fleetId?: string | null
  /** What the instances say of that fleet. */
  fleet?: FleetMemberDoc
}

/**
 * Launches as many instances as there is room for, from MinCount to MaxCount: what RunInstances does once it knows what is
 * asked for, and what a fleet does for each of its pools. `tags` are those that EC2 itself gives to the instances.
 *
 * @returns the zones that they might have gone to, and their rows.
 * @throws ApiError whatever RunInstances throws; what was written until then is the caller's to roll back.
 */
export async function launchInstances(
  context: Context,
  input: RunInstancesRequest,
  { reservationId, tags, spot = null, fleetId = null, fleet }: LaunchOrigin,
): Promise<{ zones: string[]; instances: InstanceTable[] }> {
  const { minCount, maxCount } = checkRunInstances(input)
  const launch = await prepareLaunch(context, input, reservationId)
  if (fleet) launch.doc.fleet = fleet
  launch.tags.set('instance', [...(launch.tags.get('instance') ?? []), ...tags])
  const places = { ...placesFor(launch), minCount, maxCount, isSpot: spot !== null }
  const placements = spot ? await takeSpotPlaces(context, places, spot) : await takePlaces(context, places)
  const network = networkIn(launch.network, placements[0]?.zone)
  const instances: InstanceTable[] = []
  for (const placement of placements) {
    for (let each = 0; each < placement.count; each++) {
      instances.push(await insertInstance(context, { ...launch, network, spot, fleetId }, placement, instances.length))
    }
  }
  for (const nodeId of new Set(placements.map((each) => each.nodeId))) {
    await enqueue(context.db, { kind: 'ports', id: network.subnet.vpc_id, hostId: nodeId }, context.nowMs)
  }
  return { zones: launch.network.zones, instances }
}

/**
 * Checks a launch as far as that can be done without launching.
 *
 * @returns the zones that it may go to.
 * @throws ApiError what is wrong with it.
 */
export async function checkLaunch(context: Context, input: RunInstancesRequest): Promise<{ zones: string[] }> {
  checkRunInstances(input)
  return { zones: (await prepareLaunch(context, input, '')).network.zones }
}

function placesFor({ type, network, image, wish }: Launch): Omit<PlaceRequest, 'minCount' | 'maxCount'> {
  return {
    instanceType: type.name, zones: network.zones, isZoneFixed: network.isZoneFixed, architecture: image.architecture,
    vcpus: type.vcpus, memoryMib: type.memoryMib, wish,
  }
}

/**
 * How many instances of a launch would find room in capacity reservations.
 *
 * @throws ApiError what is wrong with the launch.
 */
export async function countReserved(context: Context, input: RunInstancesRequest): Promise<number> {
  const launch = await prepareLaunch(context, input, '')
  return countReservedPlaces(context, { ...placesFor(launch), minCount: 1, maxCount: 1 })
}

const instancesOf = prepared((db, reservationId: string) =>
  db.selectFrom('instances').selectAll().where('reservation_id', '=', reservationId).orderBy('launch_index'))

async function answer({ db, region }: Context, reservationId: string, rows: readonly InstanceTable[]): Promise<Reservation> {
  const [reservation] = toReservations(rows, await loadInstances(db, region, rows))
  if (!reservation) throw new Error(`reservation ${reservationId} has no instances`)
  return reservation
}

/** What is left of a launch on demand: its market options say nothing. */
function withoutMarket({ InstanceMarketOptions: _nothing, ...input }: RunInstancesRequest): RunInstancesRequest {
  return input
}

async function prepareLaunch(context: Context, input: RunInstancesRequest, reservationId: string): Promise<Launch> {
  const image = await findImage(context, await resolveImageId(context, input.ImageId ?? ''))
  const { imdsSupport, bootMode, sshUser, enaSupport: hasEna = true } = imageDoc(image)
  const publicKey = await findPublicKey(context, input.KeyName || undefined)
  const type = requestedType(input, { architecture: image.architecture, hasEna })
  const settings = await metadataSettings(context.db, context.account)
  const metadataOptions = requestedMetadataOptions(input, imdsSupport, settings.defaults)
  checkTokensEnforced(settings, metadataOptions)
  const volumes = await requestedVolumes(context, image, { typeName: type.name, mappings: input.BlockDeviceMappings })
  const options = requestedOptions(input, type.name)
  const root = volumes.find((each) => isSameDevice(each.deviceName, image.root_device_name))
  const hibernation = requestedHibernation(input, type.name, root)
  const network = await requestedNetwork(context, input, type.name)
  const wish = await requestedPlacement(context, input, { typeName: type.name, subnet: network.subnet })
  return {
    reservationId,
    image,
    type,
    network,
    wish,
    volumes,
    keyName: input.KeyName || null,
    clientToken: input.ClientToken || null,
    tags: requestedTags(input),
    doc: {
      userData: requestedUserData(input),
      shutdownBehavior:
        checkEnum('InstanceInitiatedShutdownBehavior', input.InstanceInitiatedShutdownBehavior, ['stop', 'terminate']) ?? 'stop',
      architecture: ARCHITECTURES.find((each) => each === image.architecture) ?? 'x86_64',
      bootMode,
      sshUser,
      ...(hasEna ? {} : { enaSupport: false }),
      rootDeviceName: image.root_device_name,
      publicKey,
      metadataOptions,
      stateReason: null,
      stateTransitionReason: '',
      platform: null,
      granted: null,
      force: false,
      hasRun: false,
      startFailures: 0,
      reboot: null,
      usageOperationUpdateMs: context.nowMs,
      contactMs: null,
      outOfSpaceSinceMs: null,
      ...(hibernation ? { hibernation } : {}),
      ...(options.disableApiTermination ? { wasProtected: true } : {}),
      options,
    },
  }
}

/** By these tags an instance knows its template, and clients find it. */
export function templateTags(template: UsedTemplate | null): TagInput[] {
  if (template === null) return []
  return [{ key: 'aws:ec2launchtemplate:id', value: template.id }, { key: 'aws:ec2launchtemplate:version', value: String(template.version) }]
}

function requestedTags({ TagSpecifications: specifications }: RunInstancesRequest): Map<string, TagInput[]> {
  return parseTagSpecifications(specifications, ['instance', 'volume', 'network-interface'])
}

/** The image that a launch names: one that the account may see, and that is whole. */
async function findImage(context: Context, imageId: string): Promise<ImageTable> {
  const image = await requireVisibleImage(context, imageId)
  if (image.state !== 'available') {
    throw new ApiError('InvalidAMIID.Unavailable', `AMI '${imageId}' is ${image.state}, and cannot be run`)
  }
  return image
}

async function findPublicKey({ db, account }: Context, keyName: string | undefined): Promise<string | null> {
  if (keyName === undefined) return null
  const key = await db
    .selectFrom('key_pairs').select('public_key').where('account_id', '=', account).where('name', '=', keyName)
    .executeTakeFirst()
  if (!key) throw new ApiError('InvalidKeyPair.NotFound', `The key pair '${keyName}' does not exist`)
  return key.public_key
}

async function insertInstance(
  context: Context,
  launch: Launch & Required<Pick<LaunchOrigin, 'spot' | 'fleetId'>>,
  placement: TakenPlace,
  launchIndex: number,
): Promise<InstanceTable> {
  const { db, account, random, nowMs } = context
  const { network, wish, spot } = launch
  const place = placeOf(placement)
  const instanceId = newId(random, 'i')
  const slot = await takeSlot(db, random, place.node_id, 'machine', instanceId)
  const row: InstanceTable = {
    instance_id: instanceId, account_id: account, reservation_id: launch.reservationId, launch_index: launchIndex,
    client_token: launch.clientToken, state: 'pending', instance_type: launch.type.name,
    image_id: launch.image.image_id, key_name: launch.keyName, vpc_id: network.subnet.vpc_id,
    subnet_id: network.subnet.subnet_id, zone: network.subnet.zone, slot,
    lifecycle: spot ? 'spot' : 'on-demand', spot_request_id: spot?.requestIds[launchIndex] ?? null, fleet_id: launch.fleetId,
    ...place, tenancy: wish.tenancy, placement_group_id: wish.placementGroupId,
    vcpus: launch.type.vcpus, memory_mib: launch.type.memoryMib, holds_capacity: 1, reboot_requested: 0, reboot_completed: 0,
    state_ms: nowMs, launch_ms: nowMs, created_ms: nowMs,
    doc: JSON.stringify({
      ...launch.doc, uuid: machineUuid(random), ...(spot ? { spot: { behavior: spot.behavior, rebalanceMs: null, interruption: null } } : {}),
      ...(wish === ANYWHERE ? {} : { placement: boundTo(wish, placement) }),
      ...(placement.waitsFor.length === 0 ? {} : { waitsFor: placement.waitsFor }),
    }),
  }
  await insertRow(db, 'instances', { ...row })
  await promiseRoom(db, placement.waitsFor, instanceId)
  await instanceMoved(db, null, row, nowMs)
  await insertTags(db, account, 'instance', instanceId, launch.tags.get('instance') ?? [])
  await insertInterfaces(context, launch, row)
  await insertVolumes(context, launch.volumes, row, launch.tags.get('volume') ?? [])
  // The reconcilers of its ports and its volumes mark the instance due when the last of them is ready.
  return row
}

/** The interfaces of one instance: new ones, and those that were there. */
async function insertInterfaces(context: Context, { network, tags }: Launch, instance: InstanceTable): Promise<void> {
  const reserved = network.interfaces.flatMap(({ addresses }) => [addresses.primary ?? [], addresses.secondary].flat())
  for (const each of network.interfaces) {
    const attachment = { instance, ...each }
    if (each.existing) await attach(context, each.existing, attachment)
    else {
      await insertInterface(context, newId(context.random, 'eni'), each, {
        attachment, tags: tags.get('network-interface') ?? [], reserved,
      })
    }
  }
}

/** A uuid that starts with "ec2", by which cloud-init knows EC2. */
function machineUuid(random: Context['random']): string {
  const hex = `ec2${random.bytes(16).toString('hex').slice(3)}`
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}
