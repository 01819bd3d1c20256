import type { Realm } from './realm.ts'
import type { Settings } from './settings.ts'

/** Who opens a region's database: its API, a process of agents, and all else (a command, a region that is copied from). */
export type DatabaseUser = 'api' | 'agents' | 'other'

/** What a PostgreSQL allows everybody unless it is told otherwise: 100, of which it keeps 3 for its superuser. */
const SERVER_DEFAULT = 97

/** For `hearth up` while it begins, commands, and copies from one region to another. */
const FOR_OTHERS = 13

/** What each is to have at most, and at least: two transactions of one process write at a time, and no reader is to wait for them. */
const MOST = { api: 10, agents: 4 }
const LEAST = { api: 3, agents: 3 }
const OTHER = 2

type Share = Pick<Realm, 'zones'> & Partial<Pick<Realm, 'regionShare'>>

/**
 * The most connections that a process may have to a region's PostgreSQL, one for wake-ups not counted. All regions together are to get
 * along with what a server allows by default; where these are many, agents have fewer first, then the API.
 */
export function connectionsOf({ zones, regionShare = 1 }: Share): Record<DatabaseUser, number> {
  const regions = Math.round(1 / regionShare)
  // Those of the zones, and the node's.
  const agents = zones.length + 1
  const room = Math.floor((SERVER_DEFAULT - FOR_OTHERS) / regions) - (agents + 1)
  const each = between(LEAST.agents, Math.floor((room - MOST.api) / agents), MOST.agents)
  return { api: between(LEAST.api, room - each * agents, MOST.api), agents: each, other: OTHER }
}

/** The most that a whole cloud has at a time, with those of `hearth up` while it begins, or of a command. */
export function mostConnections(
  { zones, moreRegions, engine }: Pick<Settings, 'zones' | 'moreRegions' | 'engine'>,
): number {
  const regions = moreRegions.length + 1
  const { api, agents, other } = connectionsOf({ zones, regionShare: 1 / regions })
  // Simulated, one process is the API and all agents.
  const ofAgents = engine === 'sim' ? 0 : (zones.length + 1) * (agents + 1)
  return regions * (api + 1 + ofAgents + other)
}

function between(least: number, value: number, most: number): number {
  return Math.min(most, Math.max(least, value))
}
