import { isWellFormedId } from '../core/ids.ts'
import { imageDoc } from '../model/image.ts'
import { instanceDoc, STATE_REASONS } from '../model/instance.ts'
import { isHibernated } from '../model/memory.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'

/** What the CLI shows and uses of an instance. */
export interface InstanceView {
  instanceId: string
  /** Its Name tag. */
  name: string | null
  state: InstanceTable['state']
  /** Why a running guest stands still; null while it does not. */
  pausedBecause: 'disk-full' | null
  /** Stopped, and what was in its memory is kept. */
  isHibernated: boolean
  /** Why it is not, or did not come, up, where nobody asked for that; null otherwise. */
  reason: string | null
  zone: string
  type: string
  /** What the guest got, where it is less than its type promises. */
  granted: { vcpus: number; memoryMib: number } | null
  privateIp: string | null
  publicIp: string | null
  launchMs: number
  keyName: string | null
  /** Whom SSH lets in; null where that is not known. */
  sshUser: string | null
}

/** States in which there is, or may be, a machine. */
const LIVE = ['pending', 'running', 'stopping', 'shutting-down'] as const

/** How many instances have, or may have, a machine. */
export async function countLive(store: Store): Promise<number> {
  const rows = await store.read((db) =>
    db.selectFrom('instances').select('instance_id').where('state', 'in', LIVE).execute())
  return rows.length
}

/** The zones in which an instance has, or may have, a machine. */
export async function liveZones(db: Db): Promise<string[]> {
  const rows = await db.selectFrom('instances').select('zone').distinct().where('state', 'in', LIVE).orderBy('zone').execute()
  return rows.map((row) => row.zone)
}

/** All instances of the home, the newest launch last. */
export function listInstances(store: Store): Promise<InstanceView[]> {
  return store.read(async (db) => {
    const rows = await db.selectFrom('instances').selectAll().orderBy('launch_ms').orderBy('launch_index').execute()
    const related = await loadRelated(db)
    return rows.map((row) => viewOf(row, related))
  })
}

async function loadRelated(db: Db) {
  const tags = await db
    .selectFrom('tags').selectAll().where('resource_type', '=', 'instance').where('key', '=', 'Name').execute()
  const interfaces = await db.selectFrom('interfaces').selectAll().where('device_index', '=', 0).execute()
  const images = await db.selectFrom('images').select(['image_id', 'doc']).execute()
  return {
    names: new Map(tags.map((tag) => [tag.resource_id, tag.value])),
    interfaces: new Map(interfaces.flatMap((each) => (each.instance_id === null ? [] : [[each.instance_id, each] as const]))),
    users: new Map(images.map((image) => [image.image_id, imageDoc(image).sshUser])),
  }
}

function viewOf(row: InstanceTable, related: Awaited<ReturnType<typeof loadRelated>>): InstanceView {
  const network = related.interfaces.get(row.instance_id)
  return {
    instanceId: row.instance_id,
    name: related.names.get(row.instance_id) ?? null,
    state: row.state,
    pausedBecause: row.state === 'running' && instanceDoc(row).outOfSpaceSinceMs !== null ? 'disk-full' : null,
    isHibernated: isHibernated(row),
    reason: reasonOf(row),
    zone: row.zone,
    type: row.instance_type,
    granted: instanceDoc(row).granted,
    privateIp: network?.private_ip ?? null,
    publicIp: network?.public_ip ?? null,
    launchMs: row.launch_ms,
    keyName: row.key_name,
    sshUser: instanceDoc(row).sshUser ?? related.users.get(row.image_id) ?? null,
  }
}

const ASKED_FOR: readonly string[] = [STATE_REASONS.userShutdown, STATE_REASONS.userHibernate, STATE_REASONS.guestShutdown]
  .map(({ message }) => message)

function reasonOf(row: InstanceTable): string | null {
  const message = row.state === 'stopped' || row.state === 'terminated' ? instanceDoc(row).stateReason?.message : undefined
  return message === undefined || ASKED_FOR.includes(message) ? null : message
}

/** That nothing here is what a person means; it may be in another region. */
export class NotHereError extends Error {}

/**
 * The one instance that a person means: by its id, by the beginning of its id, or by its Name tag.
 * What is terminated is meant only by its whole id.
 *
 * @throws Error that says what there is instead.
 */
export function findInstance(instances: readonly InstanceView[], wanted: string): InstanceView {
  const exact = instances.find((each) => each.instanceId === wanted)
  if (exact) return exact
  if (isWellFormedId('i', wanted)) throw new NotHereError(`there is no instance ${wanted}; see hearth status`)
  const living = instances.filter((each) => each.state !== 'terminated')
  const named = living.filter((each) => each.name === wanted)
  // "i-" alone begins every id, and says nothing.
  const begun = /^i-[0-9a-f]+$/.test(wanted) ? living.filter((each) => each.instanceId.startsWith(wanted)) : []
  const found = named.length > 0 ? named : begun
  if (found.length === 1 && found[0]) return found[0]
  if (found.length > 1) {
    throw new Error(`"${wanted}" may be any of ${found.map((each) => each.instanceId).join(', ')}; give the whole id`)
  }
  const known = living.map((each) => (each.name === null ? each.instanceId : `${each.instanceId} (${each.name})`))
  const there = known.length > 0 ? `there are: ${known.join(', ')}` : 'there is none'
  throw new NotHereError(`no instance has the id or the Name "${wanted}"; ${there}`)
}
