import type { Filter } from '@aws-sdk/client-ec2'
import { instanceToWire } from '../model/instance-wire.ts'
import { prepared, preparedIn } from '../store/prepared.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { compileFilters, exactValues } from './filters.ts'
import { conditionsOf, findCandidates } from './instance-candidates.ts'
import { INSTANCE_FIELDS, type InstanceItem } from './instance-filters.ts'
import { loadInstances } from './load-instances.ts'
import { timeKey } from './pagination.ts'
import { requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags, type TagInput } from './tags.ts'

/** Instances of one step: what belongs to them is read and shaped without a pause. */
export const CHUNK = 64
/** Rows that one step of a walk looks at, index and conditions only. */
const STRIDE = 1000

export interface InstanceSearch {
  account: string
  region: string
  /** Only these, all of which must exist; undefined for any. */
  ids: readonly string[] | undefined
  filters: readonly Filter[]
  /** Only what comes after this key. */
  after: string | undefined
}

/** What one step found, in order; an empty one need not be the last. */
export interface Chunk {
  found: InstanceItem[]
  isLast: boolean
}

/** The order of instances: by the time of their launch, a reservation's together. */
export function launchKey(row: Key): string {
  return timeKey(row.created_ms, row.reservation_id, row.launch_index, row.instance_id)
}

type Key = Pick<InstanceTable, 'instance_id' | 'created_ms' | 'reservation_id' | 'launch_index'>

/**
 * The instances that a call asks for, in the order of `launchKey`, step by step. Each step is one
 * short snapshot and bounded work, however many instances there are: what is there all the time is
 * found exactly once, what comes or goes meanwhile at most once.
 *
 * @throws ApiError for filters and ids that are not right, at the first step.
 */
export async function* searchInstances(read: Store['read'], search: InstanceSearch): AsyncGenerator<Chunk> {
  const { account, filters } = search
  const load = compileLoad(search)
  if (filters.some((filter) => (filter.Values ?? []).length === 0)) {
    yield { found: [], isLast: true }
    return
  }
  const start = await read(async (db) => {
    const ids = search.ids ?? await findCandidates(db, account, filters)
    if (!ids) return { stride: await strideAt(db, search, search.after === undefined ? -1 : timeOf(search.after) - 1) }
    return ids.length <= CHUNK ? { found: await load(db, ids, search.ids !== undefined) } : { ids }
  })
  if (start.found) yield { found: start.found, isLast: true }
  else if (start.ids) yield* searchIds(read, search, load, start.ids)
  else if (start.stride) yield* walk(read, search, load, start.stride)
}

/** The instances that match, of those with the ids; with `mustExist`, all ids must be there. */
type Load = (db: Db, ids: readonly string[], mustExist?: boolean) => Promise<InstanceItem[]>

async function* searchIds(
  read: Store['read'],
  search: InstanceSearch,
  load: Load,
  ids: readonly string[],
): AsyncGenerator<Chunk> {
  const keys = await read((db) => keysOf(db, ids, search.account))
  if (search.ids) requireAll(RESOURCE_KINDS.instance, ids, new Set(keys.map((key) => key.instance_id)))
  yield* inChunks(read, load, inOrder(keys, search.after), true)
}

/** Instances launched within a range of time, all that the conditions let through. */
interface Stride {
  keys: Key[]
  untilMs: number
  isLast: boolean
}

/** All instances of the account, by ranges of time: a reservation is never in two of them. */
async function* walk(read: Store['read'], search: InstanceSearch, load: Load, first: Stride): AsyncGenerator<Chunk> {
  for (let stride = first; ;) {
    const { keys, untilMs, isLast } = stride
    yield* inChunks(read, load, inOrder(keys, search.after), isLast)
    if (isLast) return
    stride = await read((db) => strideAt(db, search, untilMs))
  }
}

async function strideAt(db: Db, { account, filters }: InstanceSearch, afterMs: number): Promise<Stride> {
  const [end] = await endOfStride(db, account, afterMs)
  const untilMs = end?.created_ms ?? Number.MAX_SAFE_INTEGER
  return { keys: await keysBetweenFor(account, filters)(db, afterMs, untilMs), untilMs, isLast: end === undefined }
}

type KeysBetween = (db: Db, afterMs: number, untilMs: number) => Promise<Key[]>

/** Queries of the filters asked for lately: clients ask the same again and again. */
const walks = new Map<string, KeysBetween>()
const MOST_WALKS = 100

function keysBetweenFor(account: string, filters: readonly Filter[]): KeysBetween {
  const name = JSON.stringify([account, filters])
  let known = walks.get(name)
  if (!known) {
    const conditions = conditionsOf(account, filters)
    known = prepared((db: Db, afterMs: number, untilMs: number) =>
      db
        .selectFrom('instances').select(['instance_id', 'created_ms', 'reservation_id', 'launch_index'])
        .where('account_id', '=', account).where('created_ms', '>', afterMs).where('created_ms', '<=', untilMs)
        .where((eb) => eb.and(conditions.map((condition) => condition(eb)))))
    if (walks.size >= MOST_WALKS) walks.clear()
    walks.set(name, known)
  }
  return known
}

async function* inChunks(
  read: Store['read'],
  load: Load,
  keys: readonly Key[],
  isLast: boolean,
): AsyncGenerator<Chunk> {
  if (keys.length === 0) yield { found: [], isLast }
  for (let start = 0; start < keys.length; start += CHUNK) {
    const ids = keys.slice(start, start + CHUNK).map((key) => key.instance_id)
    yield { found: await read((db) => load(db, ids)), isLast: isLast && start + CHUNK >= keys.length }
  }
}

/** Sorted here and not by the database, whose order of texts depends on how it was set up. */
function inOrder<Row extends Key>(rows: readonly Row[], after: string | undefined): Row[] {
  const keyed = rows.map((row) => ({ row, key: launchKey(row) }))
  const rest = after === undefined ? keyed : keyed.filter(({ key }) => key > after)
  return rest.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ row }) => row)
}

function timeOf(key: string): number {
  return Number(key.slice(0, key.indexOf('/')))
}

// Of whose account they are is looked at here: asked for both, SQLite takes the index of accounts
// for more than a few ids, and so reads all instances that there are.
const keysOf = mineOnly(preparedIn((db, ids) =>
  db
    .selectFrom('instances').select(['instance_id', 'account_id', 'created_ms', 'reservation_id', 'launch_index'])
    .where('instance_id', 'in', ids)))

const rowsOf = mineOnly(preparedIn((db, ids) => db.selectFrom('instances').selectAll().where('instance_id', 'in', ids)))

function mineOnly<Row extends { account_id: string }>(query: (db: Db, ids: Iterable<string>) => Promise<Row[]>) {
  return async (db: Db, ids: Iterable<string>, account: string) =>
    (await query(db, ids)).filter((row) => row.account_id === account)
}

const endOfStride = prepared((db: Db, account: string, afterMs: number) =>
  db
    .selectFrom('instances').select('created_ms')
    .where('account_id', '=', account).where('created_ms', '>', afterMs)
    .orderBy('created_ms').limit(1).offset(STRIDE - 1))

/** How the instances of one step are read: cheap filters first, so that little is read in vain. */
function compileLoad({ account, region, filters, after }: InstanceSearch): Load {
  const tagsIn = ({ instance }: InstanceItem) => fromWireTags(instance.Tags)
  const matches = compileFilters([...filters], INSTANCE_FIELDS, tagsIn)
  // A tag's exact value was looked up by the database already.
  const byTags = filters.filter(({ Name: name = '' }) => isTagFilter(name) && !exactValues([...filters], name))
  const early = [...byTags, ...filters.filter(({ Name: name = '' }) => ROW_FILTERS.has(name))]
  const matchesEarly = compileFilters(early, INSTANCE_FIELDS, tagsIn)
  const wantsInterfaceTags = filters.some((filter) => filter.Name?.startsWith('network-interface.tag-'))
  return async (db, ids, mustExist) => {
    let rows = await rowsOf(db, ids, account)
    if (mustExist) requireAll(RESOURCE_KINDS.instance, ids, new Set(rows.map((row) => row.instance_id)))
    if (early.length > 0) {
      const tags = byTags.length > 0 ? await tagsOf(db, rows.map((row) => row.instance_id)) : new Map<string, TagInput[]>()
      rows = rows.filter((row) => matchesEarly(bareItem(row, tags.get(row.instance_id))))
    }
    rows = inOrder(rows, after)
    const instances = await loadInstances(db, region, rows)
    const items = rows.flatMap((row, index): InstanceItem[] => {
      const instance = instances[index]
      return instance ? [{ row, instance, interfaceTags: [] }] : []
    })
    return (wantsInterfaceTags ? await withInterfaceTags(db, items) : items).filter(matches)
  }
}

function isTagFilter(name: string): boolean {
  return name.startsWith('tag:') || name === 'tag-key' || name === 'tag-value'
}

/** Filters that an instance's own row answers. */
const ROW_FILTERS = new Set([
  'architecture', 'availability-zone', 'availability-zone-id', 'boot-mode', 'client-token', 'current-instance-boot-mode',
  'hypervisor', 'image-id', 'instance-id', 'instance-lifecycle', 'instance-state-code', 'instance-state-name', 'instance-type', 'key-name', 'launch-index', 'launch-time', 'owner-id',
  'platform-details', 'reason', 'reservation-id', 'root-device-name', 'root-device-type', 'spot-instance-request-id', 'state-reason-code',
  'state-reason-message', 'subnet-id', 'tenancy', 'usage-operation', 'virtualization-type', 'vpc-id',
])

/** An instance as its row and tags alone show it. */
function bareItem(row: InstanceTable, tags: TagInput[] | undefined): InstanceItem {
  const related = { interfaces: [], volumes: [], tags: toWireTags(tags), type: undefined }
  return { row, instance: instanceToWire(row, related), interfaceTags: [] }
}

async function withInterfaceTags(db: Db, items: readonly InstanceItem[]): Promise<InstanceItem[]> {
  const idsIn = ({ instance }: InstanceItem) =>
    (instance.NetworkInterfaces ?? []).flatMap((each) => each.NetworkInterfaceId ?? [])
  const tags = await tagsOf(db, items.flatMap(idsIn))
  return items.map((item) => ({ ...item, interfaceTags: idsIn(item).flatMap((id) => tags.get(id) ?? []) }))
}
