import type { Random } from '../core/random.ts'
import { ensureHostId } from '../home.ts'
import { checkOwnDatabase } from '../main.ts'
import { insertDefaultSubnet } from '../model/new-vpc.ts'
import type { Making } from '../model/vpc-objects.ts'
import { contentBeyond, homelessInstances, retireHosts, type HomelessInstances, type ZoneContent } from '../model/zone-hosts.ts'
import { zonesOf } from '../model/zone.ts'
import { sharesOf } from '../registration.ts'
import type { Settings } from '../settings.ts'
import type { Db, Store } from '../store/store.ts'
import { takeNoteOfRegion } from './home-region.ts'

/** Of the table meta: the zones that there have ever been, in JSON. */
const KNOWN_ZONES = 'zones'
/** Before that was written down there were these. */
const FIRST_ZONES = ['a', 'b', 'c']

/**
 * Makes a home ready for the zones of its settings, before any of its processes runs: no capacity of hosts that are wanted no more, and in zones that were never there before the default subnets that every other zone began with. (AWS leaves
 * those to CreateDefaultSubnet. Nobody has to know that here: a zone is as good as the first three from its first moment.)
 *
 * @returns what a person is told.
 * @throws Error where a zone that is left out still holds something, or the database is another home's, or another region's.
 */
export async function prepareZones(store: Store, settings: Settings, { random, nowMs }: { random: Random; nowMs: number }): Promise<string[]> {
  const zones = zonesOf(settings)
  const nodeId = await ensureHostId(settings.home, random)
  await checkOwnDatabase(store, settings, nodeId)
  return store.transaction('zones', async (db) => {
    await takeNoteOfRegion(db, settings)
    const content = await contentBeyond(db, nodeId, zones)
    if (content.length > 0) throw new Error(whyNotWithout(content, settings))
    const { hosts } = sharesOf(nodeId, settings)
    const changes = (await homelessInstances(db, nodeId, zones, hosts.map((host) => host.hostId))).map((each) => changeText(each, settings))
    await retireHosts(db, nodeId, hosts.map((host) => host.hostId))
    const fresh = await takeNoteOf(db, zones, settings.region)
    return fresh.length === 0 ? changes : [...changes, ...await fillNewZones({ db, random, nowMs }, fresh)]
  })
}

/** Fewer hosts than before may be what was wanted, or a flag that was forgotten. */
function changeText({ zone, count, isAnyInGroup }: HomelessInstances, { hostsPerZone }: Pick<Settings, 'hostsPerZone'>): string {
  return `${zone} has fewer hosts than before (--hosts-per-zone ${hostsPerZone}); ${count} instance${count === 1 ? '' : 's'} of the others `
    + `${count === 1 ? 'goes' : 'go'} over to its first one, and ${count === 1 ? 'runs' : 'run'} on`
    + (isAnyInGroup ? '. Members of spread and partition groups that are together there stay so until they are stopped' : '')
}

/** The zones that were not there before. */
async function takeNoteOf(db: Db, zones: readonly string[], region: string): Promise<string[]> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', KNOWN_ZONES).executeTakeFirst()
  const known = row ? (JSON.parse(row.value) as string[]) : zonesOf({ region, zones: FIRST_ZONES })
  const fresh = zones.filter((zone) => !known.includes(zone))
  const value = JSON.stringify([...known, ...fresh].toSorted())
  if (!row) await db.insertInto('meta').values({ key: KNOWN_ZONES, value }).execute()
  else if (fresh.length > 0) await db.updateTable('meta').set({ value }).where('key', '=', KNOWN_ZONES).execute()
  return fresh
}

async function fillNewZones(making: Making, zones: readonly string[]): Promise<string[]> {
  const vpcs = await making.db.selectFrom('vpcs').selectAll().where('is_default', '=', 1).orderBy('vpc_id').execute()
  const said: string[] = []
  for (const zone of zones) {
    for (const vpc of vpcs) {
      const subnet = await insertDefaultSubnet(making, vpc, zone)
      said.push(subnet
        ? `${zone} is new; its default subnet in ${vpc.vpc_id} is ${subnet.subnet_id}, ${subnet.cidr}`
        : `${zone} is new; ${vpc.vpc_id} has no block left for a default subnet there`)
    }
  }
  return said
}

/** "us-east-1c still holds 2 instances (i-…, i-…)", and what to do. */
function whyNotWithout(content: readonly ZoneContent[], { region, zones }: Pick<Settings, 'region' | 'zones'>): string {
  const held = content.map((each) => `${each.zone} still holds ${contentText(each)}`).join('; ')
  const letters = [...zones, ...content.map(({ zone }) => zone.slice(region.length))].toSorted().join(',')
  return `${held}. A zone can be left out when it is empty: bring the cloud up with --zones ${letters}, terminate, delete and release those, `
    + 'and then leave it out'
}

function contentText({ instances, volumes, binned, dedicatedHosts, reservations }: ZoneContent): string {
  return [
    countText(instances, 'instance'), countText(volumes, 'volume'), countText(binned, 'volume', ' in the recycle bin'),
    countText(dedicatedHosts, 'dedicated host'), countText(reservations, 'capacity reservation'),
  ].flatMap((text) => text ?? []).join(', ')
}

/** How many ids a sentence names. */
const NAMED = 3

function countText(ids: readonly string[], noun: string, where = ''): string | undefined {
  if (ids.length === 0) return undefined
  const names = [...ids.slice(0, NAMED), ...(ids.length > NAMED ? ['…'] : [])].join(', ')
  return `${ids.length} ${noun}${ids.length === 1 ? '' : 's'}${where} (${names})`
}
