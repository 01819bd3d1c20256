import { createHash } from 'node:crypto'
import path from 'node:path'
import { parseCidr, parseIpv4, sizeOf, type Cidr } from './core/cidr.ts'
import { DURATION, readDuration } from './core/duration.ts'
import { defaultHome } from './home-owner.ts'
import { NOTICE_MS, type SpotMarketSettings, type SpotPricing } from './model/spot-market.ts'
import { isOfOtherPartition, KNOWN_REGIONS, REGION_NAME } from './model/region.ts'

/** How this Hearth runs; the same from flags, environment and defaults in every command. */
export interface Settings {
  /** Folder of everything that Hearth keeps. */
  home: string
  port: number
  host: string
  /** Of the SSH server of serial consoles; it listens on the same address. */
  serialConsolePort: number
  /** 'auto' takes QEMU where it works, and says why where it does not. */
  engine: 'auto' | 'qemu' | 'sim'
  auth: 'strict' | 'permissive'
  /** Simulator only: a call answers when what it started has settled. */
  instant: boolean
  region: string
  /** Regions beside that one, on the same endpoint; everything in them is their own. */
  moreRegions: string[]
  /** Letters of the region's zones: a, b and c are us-east-1a, us-east-1b and us-east-1c. */
  zones: string[]
  /** Shares of each zone that count as hosts of their own: what a spread placement group spreads over. */
  hostsPerZone: number
  /** How instances are placed on zones and hosts that would do: over all of them, or on as few as possible. */
  placement: 'spread' | 'pack'
  /** `hearth up` launches one instance in a new home. */
  firstInstance: boolean
  /** URL of a PostgreSQL database, which may hold a password: never shown. Null is SQLite in the home. */
  database: string | null
  /** Block of public addresses; null picks one of 198.18.0.0/15 by the home's id. */
  publicPool: string | null
  /** Interface of the host whose network may reach public addresses in use; null for the host alone. */
  publicInterface: string | null
  /** The folder whose disk files ImportSnapshot and ImportImage may read; null is `imports` in the home. */
  importFolder: string | null
  /** How many times the host's vCPUs and memory are promised to instances. */
  overcommitVcpus: number
  overcommitMemory: number
  /** What the recycle bin may hold of the disk; null for a tenth of it, 50 GiB at most. */
  recycleBudgetGib: number | null
  /** How spot prices are made. */
  spotPricing: SpotPricing
  /** Whether a simulated market of others moves them too. */
  spotBackground: boolean
  /** From the notice of an interruption to the end of a spot instance. */
  spotNoticeMs: number
}

/** One setting: its flag, its environment variable, and what help says of it. */
export interface SettingOption {
  flag: string
  variable: string
  description: string
}

/** Every setting; the CLI makes its flags from this table. */
export const SETTING_OPTIONS: Record<keyof Settings, SettingOption> = {
  home: { flag: '--home <folder>', variable: 'HEARTH_HOME', description: 'where everything is kept (default ~/.hearth)' },
  port: { flag: '--port <number>', variable: 'HEARTH_PORT', description: 'port of the API (default 8773; 0 picks a free one)' },
  serialConsolePort: {
    flag: '--serial-console-port <number>', variable: 'HEARTH_SERIAL_CONSOLE_PORT',
    description: 'port of the SSH server of serial consoles (default: the one after --port; 0 picks a free one)',
  },
  host: { flag: '--host <address>', variable: 'HEARTH_HOST', description: 'address the API listens on (default 127.0.0.1)' },
  engine: { flag: '--engine <name>', variable: 'HEARTH_ENGINE', description: 'auto, qemu or sim (default auto)' },
  auth: { flag: '--auth <mode>', variable: 'HEARTH_AUTH', description: 'strict, or permissive: any key is good (default strict)' },
  instant: { flag: '--instant', variable: 'HEARTH_INSTANT', description: 'sim only: calls answer when what they started has settled' },
  region: { flag: '--region <name>', variable: 'HEARTH_REGION', description: 'region that the command is about; with the first up, the home region of the cloud (default us-east-1)' },
  moreRegions: {
    flag: '--more-regions <names>', variable: 'HEARTH_MORE_REGIONS',
    description: 'regions beside it on the same endpoint, such as eu-west-1,us-west-2 (default none)',
  },
  zones: { flag: '--zones <letters>', variable: 'HEARTH_ZONES', description: 'its Availability Zones, by their letters (default a,b,c)' },
  hostsPerZone: {
    flag: '--hosts-per-zone <number>', variable: 'HEARTH_HOSTS_PER_ZONE',
    description: 'into how many hosts the share of a zone is divided (default 1)',
  },
  placement: {
    flag: '--placement <strategy>', variable: 'HEARTH_PLACEMENT',
    description: 'spread instances over zones and hosts, or pack them on as few as possible (default spread)',
  },
  firstInstance: {
    flag: '--no-first-instance', variable: 'HEARTH_FIRST_INSTANCE', description: 'launch no instance in a new home',
  },
  database: {
    flag: '--database <url>', variable: 'HEARTH_DATABASE',
    description: 'keep state in this PostgreSQL, postgresql://… (default: the one that the home was up with, or SQLite in it)',
  },
  publicPool: {
    flag: '--public-pool <cidr>', variable: 'HEARTH_PUBLIC_POOL',
    description: 'block of public addresses (default: a part of 198.18.0.0/15)',
  },
  publicInterface: {
    flag: '--public-interface <name>', variable: 'HEARTH_PUBLIC_INTERFACE',
    description: 'interface whose network may reach public addresses in use (default: this host alone may)',
  },
  importFolder: {
    flag: '--import-folder <folder>', variable: 'HEARTH_IMPORT_FOLDER',
    description: 'the only folder that ImportImage and ImportSnapshot read disk files from (default: imports in the home)',
  },
  overcommitVcpus: {
    flag: '--overcommit-vcpus <factor>', variable: 'HEARTH_OVERCOMMIT_VCPUS',
    description: 'how many times the vCPUs of the host are promised (default 32)',
  },
  overcommitMemory: {
    flag: '--overcommit-memory <factor>', variable: 'HEARTH_OVERCOMMIT_MEMORY',
    description: 'how many times the memory of the host is promised (default 8)',
  },
  recycleBudgetGib: {
    flag: '--recycle-budget-gib <number>', variable: 'HEARTH_RECYCLE_BUDGET_GIB',
    description: 'disk that the recycle bin may hold, the oldest going first (default: a tenth of the disk, at most 50)',
  },
  spotPricing: {
    flag: '--spot-pricing <mode>', variable: 'HEARTH_SPOT_PRICING',
    description: 'smoothed: spot prices move in small steps, as EC2\'s; auction: each is the highest bid that loses (default smoothed)',
  },
  spotBackground: {
    flag: '--spot-background <yes|no>', variable: 'HEARTH_SPOT_BACKGROUND',
    description: 'a simulated market of others moves spot prices too (default yes)',
  },
  spotNoticeMs: {
    flag: '--notice <duration>', variable: 'HEARTH_SPOT_NOTICE',
    description: 'from the notice of an interruption to the end of a spot instance, such as 20s (default 2m)',
  },
}

/** Addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  const address = parseIpv4(host)
  return host === 'localhost' || host === '::1' || (address !== undefined && address >>> 24 === 127)
}

/** Simulated hosts cost little, and a spread placement group has as many instances in a zone as that has hosts. */
const SIM_HOSTS_PER_ZONE = 8

/** Flags as commander names them. */
type Given = Partial<Record<keyof Settings | 'notice', unknown>>

/**
 * Settings from flags (as commander gives them: camelCase) over environment over defaults.
 *
 * @throws Error with one clear sentence on a value that makes no sense.
 */
export function readSettings(flags: Given, environment: Record<string, string | undefined>): Settings {
  const value = (name: keyof Settings): string | undefined => {
    const flag = flags[name === 'spotNoticeMs' ? 'notice' : name] ?? flags[name]
    if (flag !== undefined) return String(flag)
    return environment[SETTING_OPTIONS[name].variable] || undefined
  }
  const port = wholeNumber('port', value('port') ?? '8773', 0, 65_535)
  const settings: Settings = {
    home: path.resolve(value('home') ?? defaultHome(environment)),
    port,
    serialConsolePort: wholeNumber('serialConsolePort', value('serialConsolePort') ?? String(portAfter(port)), 0, 65_535),
    host: value('host') ?? '127.0.0.1',
    engine: oneOf('engine', value('engine') ?? 'auto', ['auto', 'qemu', 'sim']),
    auth: oneOf('auth', value('auth') ?? 'strict', ['strict', 'permissive']),
    instant: yesOrNo('instant', value('instant') ?? 'false'),
    region: value('region') ?? 'us-east-1',
    moreRegions: regionNames(value('moreRegions') ?? ''),
    zones: zoneLetters(value('zones') ?? 'a,b,c'),
    hostsPerZone: wholeNumber('hostsPerZone', value('hostsPerZone') ?? String(value('engine') === 'sim' ? SIM_HOSTS_PER_ZONE : 1), 1, 16),
    placement: oneOf('placement', value('placement') ?? 'spread', ['spread', 'pack']),
    // Commander turns --no-first-instance into firstInstance: false and its absence into true, so
    // only a flag of false says anything.
    firstInstance: flags.firstInstance === false ? false : yesOrNo('firstInstance', environment.HEARTH_FIRST_INSTANCE || 'true'),
    database: databaseUrl(value('database')),
    publicPool: value('publicPool') ?? null,
    publicInterface: interfaceName(value('publicInterface')),
    importFolder: optionalPath(value('importFolder')),
    overcommitVcpus: factor('overcommitVcpus', value('overcommitVcpus') ?? '32'),
    overcommitMemory: factor('overcommitMemory', value('overcommitMemory') ?? '8'),
    recycleBudgetGib: budget(value('recycleBudgetGib')),
    spotPricing: oneOf('spotPricing', value('spotPricing') ?? 'smoothed', ['smoothed', 'auction']),
    spotBackground: yesOrNo('spotBackground', value('spotBackground') ?? 'yes'),
    spotNoticeMs: notice(value('spotNoticeMs')),
  }
  return checked(settings)
}

/** Where a free port is picked, or none comes after it, another free one is. */
function portAfter(port: number): number {
  return port === 0 || port === 65_535 ? 0 : port + 1
}

function checked(settings: Settings): Settings {
  if (settings.instant && settings.engine !== 'sim') throw new Error('--instant needs --engine sim: real machines take their time')
  if (settings.auth === 'permissive' && !isLoopback(settings.host)) {
    throw new Error(`--auth permissive accepts every key, so it needs a loopback address, not --host ${settings.host}`)
  }
  if (!REGION_NAME.test(settings.region)) throw new Error(`--region ${settings.region} is not of the form us-east-1`)
  for (const name of [settings.region, ...settings.moreRegions].filter(isOfOtherPartition)) {
    throw new Error(`${name} is of another partition of AWS, whose ARNs and endpoints there are none of here; take a region such as us-east-1`)
  }
  publicBlocksOf(settings, '0000')
  return settings
}

type PoolSettings = Pick<Settings, 'publicPool' | 'engine' | 'region' | 'moreRegions'>

/** The block of public addresses of the home region. */
export function publicPoolOf(settings: PoolSettings, homeId: string): Cidr {
  const [first] = publicBlocksOf(settings, homeId).values()
  if (!first) throw new Error('a cloud has one region at least')
  return first
}

/** Never routed: for benchmarks. */
const BENCHMARKING: Cidr = { base: (198 * 256 + 18) * 65_536, prefix: 15 }

/**
 * The blocks of public addresses of all regions, the home's first; no two overlap. A block that is set is divided among
 * them in the order in which they are named. Else each has a /22 of 198.18.0.0/15 that follows from the
 * home's id and the region's name, so that another region beside it changes nothing; a simulated home region has a /16.
 *
 * @throws Error for a block that is too small, and for two regions that would have the same one.
 */
export function publicBlocksOf(settings: PoolSettings, homeId: string): Map<string, Cidr> {
  const { publicPool, region, moreRegions, engine } = settings
  const names = [region, ...moreRegions]
  if (publicPool !== null) {
    const pool = parseCidr(publicPool)
    if (!pool || pool.prefix > 29) throw new Error(`--public-pool ${publicPool} is not an IPv4 block of at least 8 addresses`)
    const prefix = pool.prefix + Math.ceil(Math.log2(names.length))
    if (prefix > 29) throw new Error(`--public-pool ${publicPool} is too small for ${names.length} regions of at least 8 addresses`)
    return new Map(names.map((name, index) => [name, { base: pool.base + index * sizeOf(prefix), prefix }]))
  }
  if (engine === 'sim') {
    const others = placesOf(moreRegions, 64).map(([name, place]): [string, Cidr] => [name, { base: BENCHMARKING.base + 65_536 + place * 1024, prefix: 22 }])
    return new Map([[region, { ...BENCHMARKING, prefix: 16 }], ...others])
  }
  const block = (place: number): Cidr => ({ base: BENCHMARKING.base + ((Number.parseInt(homeId, 16) + place) % 128) * 1024, prefix: 22 })
  return new Map([[region, block(0)], ...placesOf(moreRegions, 127).map(([name, place]): [string, Cidr] => [name, block(1 + place)])])
}

/**
 * A number below `count` for each name, which does not depend on the other names: AWS's regions have their places in the list, others
 * one that follows from a hash of the name.
 *
 * @throws Error where two of them have the same one.
 */
function placesOf(names: readonly string[], count: number): [string, number][] {
  const placeOf = (name: string) => {
    const known = KNOWN_REGIONS.indexOf(name)
    const hash = createHash('sha256').update(name).digest().readUInt32BE(0)
    return known >= 0 ? known : KNOWN_REGIONS.length + (hash % (count - KNOWN_REGIONS.length))
  }
  const places = new Map<number, string>()
  for (const name of names) {
    const twin = places.get(placeOf(name))
    if (twin !== undefined && twin !== name) {
      throw new Error(`${twin} and ${name}, which AWS does not have, would have the same public addresses; name one of them otherwise, or give --public-pool`)
    }
    places.set(placeOf(name), name)
  }
  return [...places].map(([place, name]) => [name, place])
}

function optionalPath(value: string | undefined): string | null {
  return value === undefined ? null : path.resolve(value)
}

/** Where callers of the API may import disk files from. */
export function importFolderOf({ importFolder, home }: Pick<Settings, 'importFolder' | 'home'>): string {
  return importFolder ?? path.join(home, 'imports')
}

/** A name that the kernel takes, and that is safe within rules and commands. */
function interfaceName(value: string | undefined): string | null {
  if (value === undefined) return null
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/.test(value)) throw new Error(`--public-interface ${value} is not the name of a network interface`)
  return value
}

/** @throws Error that does not repeat the value, which may hold a password. */
function databaseUrl(value: string | undefined): string | null {
  if (value === undefined) return null
  if (!/^postgres(ql)?:\/\//.test(value) || parseDatabaseUrl(value) === undefined) {
    throw new Error('--database must be a URL of the form postgresql://user@host:5432/name')
  }
  return value
}

/** libpq knows URLs with a user and without a host, which is then a socket's folder; others do not. */
function parseDatabaseUrl(value: string): URL | undefined {
  const text = value.replace('@/', '@localhost/')
  return URL.canParse(text) ? new URL(text) : undefined
}

/** What people may be told of the database: where it is, and no word of how to get in. */
export function describeDatabase({ database, home }: Pick<Settings, 'database' | 'home'>): string {
  if (database === null) return path.join(home, 'hearth.db')
  const url = parseDatabaseUrl(database)
  const name = url?.pathname.slice(1) ?? ''
  return `the PostgreSQL database ${name === '' ? '' : `"${decodeURIComponent(name)}" `}at ${url?.searchParams.get('host') ?? url?.host ?? ''}`
}

function oneOf<T extends string>(name: keyof Settings, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value)
  if (found === undefined) throw new Error(`${flagOf(name)} must be one of ${allowed.join(', ')}, not ${value}`)
  return found
}

function wholeNumber(name: keyof Settings, value: string, least: number, most: number): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < least || number > most) {
    throw new Error(`${flagOf(name)} must be a whole number from ${least} to ${most}, not ${value}`)
  }
  return number
}

/** More than these would only make agents that nobody asked for; it also keeps their public blocks apart. */
const MOST_REGIONS = 15

function regionNames(value: string): string[] {
  const names = value.split(',').map((name) => name.trim()).filter((name) => name !== '')
  if (names.length <= MOST_REGIONS && new Set(names).size === names.length && names.every((name) => REGION_NAME.test(name))) return names
  throw new Error(`--more-regions must be up to ${MOST_REGIONS} different names of the form eu-west-1, not ${value}`)
}

/** In order, each once; six at most, as no region of AWS has more. */
function zoneLetters(value: string): string[] {
  const letters = value.split(',').map((letter) => letter.trim())
  if (letters.length > 6 || new Set(letters).size < letters.length || !letters.every((letter) => /^[a-z]$/.test(letter))) {
    throw new Error(`--zones must be up to six different letters, such as a,b,c, not ${value}`)
  }
  return letters.toSorted()
}

function factor(name: keyof Settings, value: string): number {
  const number = Number(value)
  if (!(number >= 1 && number <= 1000)) throw new Error(`${flagOf(name)} must be a number from 1 to 1000, not ${value}`)
  return number
}

/** Null unless given; 0 keeps nothing that takes any room. */
function budget(value: string | undefined): number | null {
  if (value === undefined) return null
  const number = Number(value)
  if (!(number >= 0 && number <= 1_000_000)) {
    throw new Error(`--recycle-budget-gib must be a number from 0 to 1000000, not ${value}`)
  }
  return number
}

/** Two minutes unless given; at least a second, or nobody could see it. */
function notice(value: string | undefined): number {
  if (value === undefined) return NOTICE_MS
  const ms = DURATION.test(value.trim()) ? readDuration(value) : NaN
  if (!(ms >= 1000 && ms <= 3_600_000)) throw new Error(`--notice must be from 1s to 1h, such as 20s or 2m, not ${value}`)
  return ms
}

/** What the market of a region is told of the settings. */
export function spotMarketSettings(settings: Pick<Settings, 'spotPricing' | 'spotBackground' | 'spotNoticeMs'>): SpotMarketSettings {
  return { pricing: settings.spotPricing, background: settings.spotBackground, noticeMs: settings.spotNoticeMs }
}

function yesOrNo(name: keyof Settings, value: string): boolean {
  if (['true', '1', 'yes'].includes(value)) return true
  if (['false', '0', 'no'].includes(value)) return false
  throw new Error(`${SETTING_OPTIONS[name].variable} must be true or false, not ${value}`)
}

function flagOf(name: keyof Settings): string {
  return SETTING_OPTIONS[name].flag.split(' ')[0] ?? name
}
