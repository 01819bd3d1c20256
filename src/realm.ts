import path from 'node:path'
import { formatCidr } from './core/cidr.ts'
import { homeIdOf } from './home.ts'
import { REGION_NAME } from './model/region.ts'
import { importFolderOf, publicBlocksOf, type Settings } from './settings.ts'

/**
 * One region of a cloud, with the settings of a cloud that has this region alone: a home, a database and a public block
 * of its own. Whatever takes settings takes these.
 */
export interface Realm extends Settings {
  /** Home of the whole cloud: its built images, its master key and its credentials serve all regions. */
  cloudHome: string
  isHome: boolean
  /** Schema in the PostgreSQL database; null for the one that is there anyway, and with SQLite. */
  schema: string | null
  /** Which part of the computer it may promise. */
  regionShare: number
}

/** Settings as a command has them: of a whole cloud, or of one of its regions. */
export type AnySettings = Settings & Partial<Pick<Realm, 'cloudHome' | 'schema'>>

/** Home of the whole cloud, of a region's settings or of the cloud's. */
export function cloudHomeOf({ home, cloudHome = home }: Pick<AnySettings, 'home' | 'cloudHome'>): string {
  return cloudHome
}

/** The same for the home region, in whose database accounts and their keys are. */
export function homeRegionOf(settings: AnySettings): AnySettings {
  return { ...settings, home: cloudHomeOf(settings), schema: null }
}

/** Where the homes of the other regions are. */
export function regionsFolder(home: string): string {
  return path.join(home, 'regions')
}

/** The cloud whose region has this folder, should there be one; undefined for a folder that no region would have. */
export function homeAbove(folder: string): { home: string; region: string } | undefined {
  const region = path.basename(folder)
  const home = path.dirname(path.dirname(folder))
  return REGION_NAME.test(region) && folder === path.join(regionsFolder(home), region) ? { home, region } : undefined
}

/**
 * The regions of a cloud, the home's first.
 *
 * @throws Error in the rare case that two of their homes have the same id, by which the kernel's objects are named.
 */
export function realmsOf(settings: Settings): Realm[] {
  const { home, moreRegions } = settings
  const blocks = publicBlocksOf(settings, homeIdOf(home))
  const names = [settings.region, ...moreRegions]
  const realms = names.map((region, index): Realm => {
    const isHome = index === 0
    const block = blocks.get(region)
    const { serialConsolePort } = settings
    return {
      ...settings, region, moreRegions: [], isHome, cloudHome: home, home: isHome ? home : path.join(regionsFolder(home), region),
      schema: isHome || settings.database === null ? null : `hearth_${region.replaceAll('-', '_')}`,
      publicPool: block && moreRegions.length > 0 ? formatCidr(block) : settings.publicPool,
      // Disks to import are put where they always are, whichever region is to have them.
      importFolder: isHome ? settings.importFolder : importFolderOf(settings),
      serialConsolePort: serialConsolePort === 0 || serialConsolePort + index > 65_535 ? 0 : serialConsolePort + index,
      regionShare: 1 / names.length, firstInstance: isHome && settings.firstInstance,
    }
  })
  const ids = realms.map((realm) => homeIdOf(realm.home))
  const twin = realms.find((_realm, index) => ids.indexOf(ids[index] ?? '') < index)
  if (twin) throw new Error(`${twin.home} would be taken for another region's folder; give another --home, or leave out ${twin.region}`)
  return realms
}

/** One of them. @throws Error for a region that the cloud does not have. */
export function realmOf(settings: Settings, region: string): Realm {
  const realms = realmsOf(settings)
  const found = realms.find((realm) => realm.region === region)
  if (found) return found
  throw new Error(`there is no region ${region}; this cloud has ${realms.map((realm) => realm.region).join(', ')}`)
}

/** One region and those beside it. */
export function regionFrom(settings: Settings, region: string): { settings: Realm; others: Realm[] } {
  return { settings: realmOf(settings, region), others: realmsOf(settings).filter((realm) => realm.region !== region) }
}

/** The region that a zone belongs to, by the zone's name: eu-west-1b is eu-west-1's. @throws Error as `realmOf`. */
export function realmOfZone(settings: Settings, zone: string): Realm {
  return realmOf(settings, zone.replace(/[a-z]$/, ''))
}
