import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { ensureHome } from '../home.ts'
import { buildImage, imageRecipes, listBuiltImages, type BuiltImage, type RecipeName } from '../images/build.ts'
import { hasStore } from '../main.ts'
import { cloudHomeOf, realmsOf } from '../realm.ts'
import type { Settings } from '../settings.ts'
import { enqueue } from '../store/work.ts'
import { checkHomeFolder, cloudSettingsOf, newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { addImageBake } from './image-bake.ts'
import { addImageImport } from './image-import.ts'
import { formatAmis, listAmis } from './images.ts'
import { formatTable, type Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'

/** `hearth image build|bake|import|list`. */
export function addImage(program: Command, terminal: Terminal): void {
  const image = newCommand(program, 'image', 'build, bake or import images of machines, or list them', [
    'hearth image build debian-12', 'hearth image bake first --name mine', 'hearth image import disk.qcow2 --name mine',
    'hearth image list --json',
  ])
  const recipes = imageRecipes.map((each) => each.name).join(', ')
  const build = newCommand(image, 'build', 'build an image from packages; a running cloud registers it', [
    'hearth image build debian-12', 'hearth image build debian-12 --force',
  ])
  build.argument('<recipe>', `what to build: ${recipes}`).option('--force', 'build it again although it is there, of the packages of today')
  withSettings(build).action(async (name: string) => {
    const recipe = imageRecipes.find((each) => each.name === name)
    if (!recipe) throw new Error(`there is no recipe "${name}"; there is: ${recipes}`)
    // What is built is there for all regions.
    const settings = cloudSettingsOf(build)
    checkHomeFolder(settings.home)
    await ensureHome(settings.home)
    const built = await buildImage(recipe.name, {
      home: settings.home, clock: systemClock, log: silentLogger, progress: terminal.say, force: build.opts().force === true,
    })
    await announceBuilt(settings)
    terminal.out(built.file)
  })
  addImageBake(image, terminal)
  addImageImport(image, terminal)
  const list = newCommand(image, 'list', 'list the images that were built, those that can be, and the AMIs that were made', [
    'hearth image list', 'hearth image list --json',
  ])
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const settings = settingsOf(list)
    const images = await listBuiltImages(cloudHomeOf(settings))
    // Before the first `up` there is no cloud that could have any.
    const amis = hasStore(settings) ? await withStore(settings, listAmis) : []
    if (list.opts().json) terminal.out(JSON.stringify([...images, ...notBuilt(images), ...amis], null, 2))
    else terminal.out([formatImages(images), ...(amis.length > 0 ? [formatAmis(amis)] : [])].join('\n\n'))
  })
}

/** Asks the nodes' agents of all regions, where there are any, to register what was built. */
export async function announceBuilt(settings: Settings): Promise<void> {
  for (const realm of realmsOf(settingsInForce(settings)).filter(hasStore)) {
    await withStore(realm, (store) =>
      store.transaction('image.built', async (db) => {
        const hosts = await db.selectFrom('hosts').select('host_id').where('zone', 'is', null).execute()
        for (const host of hosts) await enqueue(db, { kind: 'images', id: 'built', hostId: host.host_id }, systemClock.now())
      }))
  }
}

/** What can be built and was not yet, in any form. */
function notBuilt(images: readonly BuiltImage[]): { name: null; recipe: RecipeName; description: string; file: null }[] {
  const missing = imageRecipes.filter((recipe) => !images.some((image) => image.recipe === recipe.name))
  return missing.map((recipe) => ({ name: null, recipe: recipe.name, description: recipe.description, file: null }))
}

/** Built images as a table, then those that can be built. */
export function formatImages(images: readonly BuiltImage[]): string {
  return formatTable([
    ['NAME', 'BUILT', 'DISK', 'DESCRIPTION'],
    ...images.map((each) => [
      each.name, new Date(each.builtAtMs).toISOString().slice(0, 16).replace('T', ' '), `${each.sizeGib} GiB`, each.description,
    ]),
    ...notBuilt(images).map((each) => [each.recipe, 'not yet', '', `${each.description}; hearth image build ${each.recipe}`]),
  ])
}
