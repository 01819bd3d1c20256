import { hasStore, openStore } from '../main.ts'
import type { Settings } from '../settings.ts'
import type { Db } from '../store/store.ts'
import { nodeOfHome } from './node-of-home.ts'

/** Of the table meta: the region whose rows these are. */
const REGION = 'region'

/**
 * The settings of a cloud with the region that its home was made with: what is in it is in zones of that name. A variable is there for
 * all homes that one has, so that it is heeded for a new one only.
 *
 * @param flag the region that was asked for by a flag.
 * @throws Error where the flag names another region, or a region is named twice.
 */
export async function withHomeRegion(settings: Settings, flag: string | undefined): Promise<Settings> {
  const region = await regionOfHome(settings) ?? settings.region
  if (flag !== undefined && flag !== region) throw new Error(whyNotRegion(settings, region, flag))
  if (settings.moreRegions.includes(region)) {
    throw new Error(`--more-regions names ${region}, which is the home region already`)
  }
  return { ...settings, region }
}

function whyNotRegion({ home }: Pick<Settings, 'home'>, known: string, asked: string): string {
  return `the cloud in ${home} was made with the region ${known}, which stays its home region; leave out --region, `
    + `have ${asked} beside it with --more-regions ${asked}, or give another --home`
}

/** The region that a home was made with; undefined before its first `up`. */
async function regionOfHome(settings: Settings): Promise<string | undefined> {
  if (!hasStore(settings)) return undefined
  const store = await openStore(settings)
  try {
    return await store.read((db) => knownRegion(db, settings.home))
  } finally {
    await store.close()
  }
}

/** Written down; in databases of before that was, what the node, or else the oldest subnets, tell of it. */
async function knownRegion(db: Db, home: string): Promise<string | undefined> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', REGION).executeTakeFirst()
  if (row) return row.value
  const node = await nodeOfHome(db, home)
  if (node) return node.region
  const subnet = await db.selectFrom('subnets').select('zone').orderBy('subnet_id').executeTakeFirst()
  return subnet?.zone.replace(/[a-z]$/, '')
}

/**
 * Writes down which region the rows of a database are of, once.
 *
 * @throws Error where they are another region's.
 */
export async function takeNoteOfRegion(db: Db, settings: Pick<Settings, 'home' | 'region'>): Promise<void> {
  const known = await knownRegion(db, settings.home)
  if (known !== undefined && known !== settings.region) throw new Error(whyNotRegion(settings, known, settings.region))
  await db.insertInto('meta').values({ key: REGION, value: settings.region }).onConflict((conflict) => conflict.column('key').doNothing()).execute()
}
