import { textsOf } from '../../src/cli/xml.ts'
import { newId } from '../../src/core/ids.ts'
import { systemRandom as random } from '../../src/core/random.ts'
import { homePaths } from '../../src/home.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Db } from '../../src/store/store.ts'
import { call, type Server } from './servers.ts'

/** Instances of one launch; each launch has a tag of its own: "batch" is "b-0", "b-1", … */
export const BATCH = 10

/** Launches instances through the API, ten by ten. Answers their ids. */
export async function launchThem(server: Server, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let batch = 0; batch * BATCH < count; batch++) {
    const xml = await call(server.port, `Action=RunInstances&Version=2016-11-15&ImageId=${server.imageId}&InstanceType=t3.micro`
      + `&MinCount=${BATCH}&MaxCount=${BATCH}&TagSpecification.1.ResourceType=instance`
      + `&TagSpecification.1.Tag.1.Key=batch&TagSpecification.1.Tag.1.Value=b-${batch}`)
    ids.push(...textsOf(xml, 'instanceId'))
  }
  return [...new Set(ids)]
}

/** Rows of one insert: SQLite takes some ten thousand values in one statement. */
const INSERT_ROWS = 100
/** Instances of one transaction. */
const TRANSACTION = 1000
const OTHER_HOST = 'h-bench'

/**
 * Writes instances straight into the home's database: copies of a launched one with ids, addresses,
 * times and tags of their own, in VPCs of their own, on a host that nobody here is the agent of.
 * Launching them would take the addresses of more VPCs than there are, and measure nothing more.
 */
export async function insertThem(home: string, from: number, until: number): Promise<string[]> {
  const store = await openSqlite({ file: homePaths(home).database, durability: 'normal' })
  try {
    const ids: string[] = []
    for (let start = from; start < until; start += TRANSACTION) {
      const count = Math.min(TRANSACTION, until - start)
      ids.push(...await store.transaction('bench', (db) => insertSome(db, start, count)))
    }
    return ids
  } finally {
    await store.close()
  }
}

async function insertSome(db: Db, start: number, count: number): Promise<string[]> {
  const template = await readTemplate(db)
  const network = await ensureNetwork(db, Math.floor(start / SUBNET_SIZE), template)
  const rows = Array.from({ length: count }, (_none, index) => copyOf(template, network, start + index))
  const parts = <T>(list: T[]) => Array.from({ length: Math.ceil(list.length / INSERT_ROWS) }, (_none, index) =>
    list.slice(index * INSERT_ROWS, (index + 1) * INSERT_ROWS))
  for (const part of parts(rows)) {
    await db.insertInto('instances').values(part.map((row) => row.instance)).execute()
    await db.insertInto('interfaces').values(part.map((row) => row.port)).execute()
    await db.insertInto('interface_groups').values(part.map((row) => row.group)).execute()
    await db.insertInto('layers').values(part.map((row) => row.layer)).execute()
    await db.insertInto('volumes').values(part.map((row) => row.volume)).execute()
    await db.insertInto('tags').values(part.map((row) => row.tag)).execute()
  }
  return rows.map((row) => row.instance.instance_id)
}

type Template = Awaited<ReturnType<typeof readTemplate>>

async function readTemplate(db: Db) {
  const instance = await db
    .selectFrom('instances').selectAll().where('state', '=', 'running').where('host_id', '<>', OTHER_HOST).limit(1)
    .executeTakeFirstOrThrow()
  const port = await db
    .selectFrom('interfaces').selectAll().where('instance_id', '=', instance.instance_id).executeTakeFirstOrThrow()
  const volume = await db
    .selectFrom('volumes').selectAll().where('instance_id', '=', instance.instance_id).executeTakeFirstOrThrow()
  const layer = await db
    .selectFrom('layers').selectAll().where('layer_id', '=', volume.layer_id).executeTakeFirstOrThrow()
  const subnet = await db
    .selectFrom('subnets').selectAll().where('subnet_id', '=', instance.subnet_id).executeTakeFirstOrThrow()
  const vpc = await db.selectFrom('vpcs').selectAll().where('vpc_id', '=', instance.vpc_id).executeTakeFirstOrThrow()
  const group = await db
    .selectFrom('security_groups').selectAll().where('vpc_id', '=', vpc.vpc_id).where('name_key', '=', 'default')
    .executeTakeFirstOrThrow()
  const host = await db
    .selectFrom('hosts').selectAll().where('host_id', '=', instance.host_id).executeTakeFirstOrThrow()
  return { instance, port, volume, layer, subnet, vpc, group, host }
}

/** Addresses used of each /20. */
const SUBNET_SIZE = 4000

interface BenchNetwork {
  vpcId: string
  subnetId: string
  groupId: string
}

/** A VPC with one subnet, of that number. */
async function ensureNetwork(db: Db, number: number, template: Template): Promise<BenchNetwork> {
  const suffix = number.toString(16).padStart(17, '0')
  const ids = { vpcId: `vpc-${suffix}`, subnetId: `subnet-${suffix}`, groupId: `sg-${suffix}` }
  const { vpc, subnet, group, host } = template
  await db.insertInto('hosts').values({ ...host, host_id: OTHER_HOST })
    .onConflict((conflict) => conflict.doNothing()).execute()
  await db.insertInto('vpcs').values({ ...vpc, vpc_id: ids.vpcId, cidr: '10.0.0.0/16', is_default: 0 })
    .onConflict((conflict) => conflict.doNothing()).execute()
  await db.insertInto('subnets')
    .values({ ...subnet, vpc_id: ids.vpcId, subnet_id: ids.subnetId, cidr: '10.0.0.0/20', default_for_az: 0 })
    .onConflict((conflict) => conflict.doNothing()).execute()
  await db.insertInto('security_groups').values({ ...group, vpc_id: ids.vpcId, group_id: ids.groupId })
    .onConflict((conflict) => conflict.doNothing()).execute()
  return ids
}

function copyOf(template: Template, network: BenchNetwork, number: number) {
  const instanceId = newId(random, 'i')
  const interfaceId = newId(random, 'eni')
  const volumeId = newId(random, 'vol')
  const layerId = newId(random, 'lay')
  const batch = Math.floor(number / BATCH)
  const { vpcId: vpc_id, subnetId: subnet_id, groupId } = network
  const created_ms = template.instance.created_ms - (batch + 1) * 1000
  const account_id = template.instance.account_id
  const within = (number % SUBNET_SIZE) + 10
  const bytes = [number >> 16, (number >> 8) & 255, number & 255]
  return {
    instance: {
      ...template.instance, instance_id: instanceId, reservation_id: `r-${batch.toString(16).padStart(17, '0')}`,
      launch_index: number % BATCH, vpc_id, subnet_id, host_id: OTHER_HOST, slot: null, created_ms, launch_ms: created_ms,
    },
    port: {
      ...template.port, interface_id: interfaceId, instance_id: instanceId, vpc_id, subnet_id, host_id: OTHER_HOST,
      slot: null, private_ip: `10.0.${within >> 8}.${within & 255}`, public_ip: `44.${bytes.join('.')}`,
      mac: `06:00:00:${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`, created_ms,
    },
    group: { interface_id: interfaceId, group_id: groupId, position: 0 },
    // A volume writes into a layer of its own.
    layer: { ...template.layer, layer_id: layerId, host_id: OTHER_HOST, created_ms },
    volume: {
      ...template.volume, volume_id: volumeId, instance_id: instanceId, layer_id: layerId, host_id: OTHER_HOST, created_ms,
    },
    tag: { account_id, resource_type: 'instance', resource_id: instanceId, key: 'batch', value: `b-${batch}` },
  }
}
