import { existsSync, readdirSync } from 'node:fs'
import { REGION_NAME } from '../model/region.ts'
import { realmsOf, regionsFolder, type Realm } from '../realm.ts'
import type { Settings } from '../settings.ts'
import { removeHostNetwork } from '../main-agents.ts'
import { hasStore } from '../main.ts'
import { withStore } from './command.ts'
import { countLive } from './instances.ts'

/** Regions that a home has had and that these settings leave out. */
export function leftRegions(settings: Settings): Realm[] {
  const { home, region, moreRegions } = settings
  const folder = regionsFolder(home)
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => REGION_NAME.test(name)) : []
  const left = names.filter((name) => name !== region && !moreRegions.includes(name)).toSorted()
  // Nothing is run there, so it does not matter which addresses they would have.
  return left.flatMap((name) => realmsOf({ ...settings, publicPool: null, moreRegions: [name] }).slice(1))
}

/** What a person is told of regions that are left out: that they are not brought up may be by mistake. */
export function leftOutLines(settings: Settings): string[] {
  return leftRegions(settings).filter(hasStore).map(({ region }) =>
    `${region} is left out; what is in it waits until --more-regions names it again`)
}

/**
 * Machines of a region that is left out would run on with nobody to look after them. What else is there, disks and
 * images, waits until the region is named again.
 *
 * @throws Error where there are any.
 */
export async function checkLeftRegions(settings: Settings): Promise<void> {
  for (const realm of leftRegions(settings)) {
    if (!hasStore(realm)) continue
    const live = await withStore(realm, countLive)
    if (live === 0) continue
    throw new Error(
      `${live} machine${live === 1 ? '' : 's'} of ${realm.region} would be left alone; bring the cloud up with --more-regions `
      + `${[...settings.moreRegions, realm.region].join(',')}, stop or terminate them, and then leave it out`,
    )
  }
}

/** Takes the kernel's objects of regions away, where these have ever been up; no machine of theirs may run. */
export async function removeNetworks(realms: readonly Realm[]): Promise<void> {
  for (const realm of realms.filter(hasStore)) await removeHostNetwork({ ...realm, engine: 'qemu' })
}
