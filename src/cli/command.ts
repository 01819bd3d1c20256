import { Command } from 'commander'
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import { packageRoot } from '../core/package-root.ts'
import { hasStore, openStore } from '../main.ts'
import { describeDatabase, readSettings, SETTING_OPTIONS, type Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import { cloudHomeOf, homeAbove, realmOf, realmOfZone, type AnySettings, type Realm } from '../realm.ts'
import { NotHereError } from './instances.ts'
import { readUpRecord, settingsInForce } from './up-record.ts'

/** A new command of `program` with every setting as an option, and examples under its help. */
export function newCommand(program: Command, usage: string, description: string, examples: string[]): Command {
  const command = program.command(usage).description(description).optionsGroup('Options:').helpOption('-h, --help', 'show this')
  command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`)
  return command
}

/** Adds the settings; called after a command's own options, so that those come first in its help. */
export function withSettings(command: Command): Command {
  command.optionsGroup('Settings, the same for every command (each also as an environment variable):')
  for (const { flag, variable, description } of Object.values(SETTING_OPTIONS)) {
    command.option(flag, `${description} [${variable}]`)
  }
  return command
}

/**
 * The settings that a command was given. A home stays with the database that it was up with: with
 * another one all that it holds would belong to nobody.
 *
 * @throws Error on a value that makes no sense.
 */
export function cloudSettingsOf(command: Command): Settings {
  const given = readSettings(command.opts(), process.env)
  const above = homeAbove(given.home)
  if (above && isHome(above.home)) {
    throw new Error(`${given.home} is the region ${above.region} of the cloud in ${above.home}; give --home ${shellWord(above.home)} --region ${above.region}`)
  }
  const last = readUpRecord(given.home)
  // One that never answered, as by a slip of the keyboard, is not remembered.
  const remembered = last?.isRunning || last?.record.isReady ? last.record.settings.database : null
  return { ...given, database: given.database ?? remembered ?? null }
}

/**
 * The same for a command that is about all regions of a cloud, as it runs or last ran.
 *
 * @throws Error where --region asks for less than that.
 */
export function wholeCloudSettingsOf(command: Command): Settings {
  const cloud = cloudSettingsOf(command)
  const inForce = settingsInForce(cloud)
  const { region } = command.opts<{ region?: string }>()
  if (region !== undefined && region !== inForce.region) {
    throw new Error(`hearth ${command.name()} is about the whole cloud in ${cloud.home} (${[inForce.region, ...inForce.moreRegions].join(', ')}), `
      + `not about ${region} alone; leave out --region`)
  }
  return cloud
}

/**
 * The same for a command that is about one region: --region names one of the cloud as it runs or last ran, and without it that is
 * the home region.
 *
 * @throws Error also for a region that the cloud does not have.
 */
export function settingsOf(command: Command): AnySettings {
  const cloud = cloudSettingsOf(command)
  const { region: flag } = command.opts<{ region?: string }>()
  const asked = flag ?? (process.env[SETTING_OPTIONS.region.variable] || undefined)
  const inForce = settingsInForce(cloud)
  if (asked === undefined || asked === inForce.region || readUpRecord(cloud.home) === undefined) return cloud
  // A variable is there for all homes that one has; a flag is for this one.
  if (flag === undefined && !inForce.moreRegions.includes(asked)) return cloud
  return realmOf(inForce, asked)
}

/** us-east-1b; region and letter. */
const ZONE_NAME = /^([a-z]{2}(?:-[a-z]+)+-\d+)[a-z]$/

/**
 * The same for a command that is about a zone: its name tells the region; its letter, its id, and what is no name of a zone are taken
 * for those of the region that --region names.
 *
 * @throws Error for a region that the cloud does not have, and for a zone of another region than --region names.
 */
export function settingsOfZone(command: Command, zone: string): AnySettings {
  const [, region] = ZONE_NAME.exec(zone) ?? []
  if (region === undefined) return settingsOf(command)
  const { region: flag } = command.opts<{ region?: string }>()
  if (flag !== undefined && flag !== region) throw new Error(`the zone ${zone} is not in --region ${flag}; leave one of them out`)
  const cloud = cloudSettingsOf(command)
  const inForce = settingsInForce(cloud)
  return region === inForce.region ? cloud : realmOfZone(inForce, zone)
}

/** Opens the region's database for the time of `body`. @throws Error where there is no cloud yet. */
export async function withStore<T>(settings: AnySettings, body: (store: Store) => Promise<T>): Promise<T> {
  if (!hasStore(settings)) throw new Error(`there is no cloud in ${settings.home} yet; start one: ${hearthCommand('up', { home: cloudHomeOf(settings) })}`)
  let store: Store
  try {
    store = await openStore(settings)
  } catch (error) {
    const advice = settings.database === null ? '; run this as the user that runs hearth up' : ''
    throw new Error(`cannot open ${describeDatabase(settings)} (${messageOf(error)})${advice}`, { cause: error })
  }
  try {
    return await body(store)
  } catch (error) {
    const others = error instanceof NotHereError ? otherRegions(settings) : []
    if (others.length === 0) throw error
    throw new Error(`${messageOf(error)} (in ${regionIn(settings)}; --region is for what is in ${others.join(' or ')})`, { cause: error })
  } finally {
    await store.close()
  }
}

/** Regions of the cloud beside the one that the settings are of. */
function otherRegions(settings: AnySettings): string[] {
  const { region, moreRegions = [] } = readUpRecord(cloudHomeOf(settings))?.record.settings ?? settings
  return [region, ...moreRegions].filter((name) => name !== regionIn(settings))
}

function regionIn(settings: AnySettings): string {
  return settingsInForce(settings).region
}

/** Everything that Hearth puts into a home; what else lies there is left alone. */
const CONTENT = [
  /^(accounts|instances|volumes|layers|images|imports|keys|logs|regions|run|tmp)$/, /^hearth\.db(-wal|-shm|-wake)?$/,
  /^credentials\.json(\.new)?$/,
  /^probe\.json/, /^host\.json(\.new)?$/, /^identity-certificate\.pem(\.new)?$/,
]

/** Whether something of that name in a home is Hearth's. */
export function isOurs(name: string): boolean {
  return CONTENT.some((pattern) => pattern.test(name))
}

/** Whether the folder is a home, or may become one: absent, empty, or made by Hearth, also in part. */
export function mayBeHome(folder: string): boolean {
  const names = existsSync(folder) ? readdirSync(folder) : []
  // Doctor leaves its probe's outcome in an otherwise empty home; a first `up` begins with instances/.
  const isBegun = names.every(isOurs) && names.every((name) => name.startsWith('probe.json') || names.includes('instances'))
  return isBegun || isHome(folder)
}

/** @throws Error when the folder is somebody else's. */
export function checkHomeFolder(folder: string): void {
  if (!mayBeHome(folder)) throw new Error(`${folder} holds other things; give Hearth a folder of its own with --home`)
}

/** Whether Hearth made the folder. */
export function isHome(folder: string): boolean {
  return ['instances', 'volumes', 'keys', 'run'].every((name) => existsSync(path.join(folder, name)))
}

/**
 * The words that call `hearth` from here, with the home where it is not the usual one, and the region where the settings are
 * those of another than the home region.
 */
export function hearthCommand(words: string, settings: Pick<Settings, 'home'> & Partial<Pick<Realm, 'cloudHome' | 'region'>>): string {
  const cloudHome = cloudHomeOf(settings)
  const isUsual = cloudHome === path.join(homedir(), '.hearth')
  const home = isUsual ? '' : ` --home ${shellWord(cloudHome)}`
  const region = settings.home === cloudHome || settings.region === undefined ? '' : ` --region ${settings.region}`
  return `${howToCall(path.join(packageRoot(), 'bin/hearth'), process.cwd(), process.env.PATH ?? '')} ${words}${home}${region}`
}

/** `hearth` where the PATH has it; else its path, relative where that is shorter. */
export function howToCall(program: string, folder: string, searchPath: string): string {
  if (searchPath.split(':').includes(path.dirname(program))) return 'hearth'
  const relative = path.relative(folder, program)
  return shellWord(relative.startsWith('..') ? program : relative)
}

/** A word as a shell must be given it. */
export function shellWord(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}
