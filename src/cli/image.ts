import type { Command } from 'commander'
import { existsSync } from 'node:fs'
import { systemClock } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { ensureHome, homePaths } from '../home.ts'
import { buildImage, imageRecipes, listBuiltImages, type BuiltImage } from '../images/build.ts'
import type { Settings } from '../settings.ts'
import { enqueue } from '../store/work.ts'
import { checkHomeFolder, newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { formatTable, type Terminal } from './terminal.ts'

/** `hearth image build|list`. */
export function addImage(program: Command, terminal: Terminal): void {
  const image = newCommand(program, 'image', 'build images of machines, or list those built', [
    'hearth image build tiny', 'hearth image list --json',
  ])
  const recipes = imageRecipes.map((each) => each.name).join(', ')
  const build = newCommand(image, 'build', 'build an image from packages; a running cloud registers it', [
    'hearth image build tiny', 'hearth image build tiny --force',
  ])
  build.argument('<recipe>', `what to build: ${recipes}`).option('--force', 'build it again although it is there')
  withSettings(build).action(async (name: string) => {
    const recipe = imageRecipes.find((each) => each.name === name)
    if (!recipe) throw new Error(`there is no recipe "${name}"; there is: ${recipes}`)
    const settings = settingsOf(build)
    checkHomeFolder(settings.home)
    await ensureHome(settings.home)
    const built = await buildImage(recipe.name, {
      home: settings.home, clock: systemClock, log: silentLogger, progress: terminal.say, force: build.opts().force === true,
    })
    await announce(settings)
    terminal.out(built.file)
  })
  const list = newCommand(image, 'list', 'list the images that were built', [
    'hearth image list', 'hearth image list --json',
  ])
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const images = await listBuiltImages(settingsOf(list).home)
    terminal.out(list.opts().json ? JSON.stringify(images, null, 2) : formatImages(images))
  })
}

/** Asks the host's agent, if the home has one, to register what was built. */
async function announce(settings: Settings): Promise<void> {
  if (!existsSync(homePaths(settings.home).database)) return
  await withStore(settings, (store) =>
    store.transaction('image.built', async (db) => {
      const hosts = await db.selectFrom('hosts').select('host_id').execute()
      for (const host of hosts) await enqueue(db, { kind: 'images', id: 'built', hostId: host.host_id }, systemClock.now())
    }))
}

/** Built images as a table. */
export function formatImages(images: readonly BuiltImage[]): string {
  if (images.length === 0) return 'no images; build one: hearth image build tiny'
  return formatTable([
    ['NAME', 'BUILT', 'DISK', 'DESCRIPTION'],
    ...images.map((each) => [
      each.name, new Date(each.builtAtMs).toISOString().slice(0, 16).replace('T', ' '), `${each.sizeGib} GiB`, each.description,
    ]),
  ])
}
