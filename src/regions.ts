import type { Cidr } from './core/cidr.ts'
import { parseIpv4, contains } from './core/cidr.ts'
import type { Clock } from './core/clock.ts'
import type { Random } from './core/random.ts'
import { ensureAccount } from './model/account.ts'
import { authError } from './protocol/auth-errors.ts'
import type { ApiCall } from './protocol/server.ts'
import type { Store } from './store/store.ts'

/** One region behind the endpoint: everything in it is its own. */
export interface Region {
  region: string
  /** Names of its zones. */
  zones: readonly string[]
  store: Store
  /** Block that its public addresses come from; no other region's overlaps it. */
  publicPool: Cidr
  /** `--instant`: waits until what a call started has settled. */
  settle?: () => Promise<void>
}

/** Accounts and keys are the cloud's, and are kept in the home region's store. */
const GLOBAL_SERVICES: readonly ApiCall['service'][] = ['iam', 'sts']

/** Finds the region of a call. The first of them is the home region. */
export class Regions {
  readonly home: Region
  readonly names: readonly string[]
  readonly #all: Map<string, Region>
  /** Accounts that are known to be there, by region. */
  readonly #accounts = new Set<string>()
  readonly #ambient: { clock: Clock; random: Random }

  constructor(home: Region, others: readonly Region[], ambient: { clock: Clock; random: Random }) {
    this.home = home
    this.#all = new Map([home, ...others].map((each) => [each.region, each]))
    this.names = [...this.#all.keys()]
    this.#ambient = ambient
  }

  /** Another region than the one named `here`; undefined where this cloud does not have it. */
  other(here: string, name: string): Region | undefined {
    return name === here ? undefined : this.#all.get(name)
  }

  /**
   * The region that a call was signed for; the home region for one that is not signed, and for services that have
   * no region. A cloud of one region serves whoever calls as that one: there is none to mistake it for.
   *
   * @throws ApiError in the words of the service, for a region that this cloud does not have.
   */
  of({ service, region }: Pick<ApiCall, 'service' | 'region'>): Region {
    if (region === null || this.#all.size === 1 || GLOBAL_SERVICES.includes(service)) return this.home
    const found = this.#all.get(region)
    if (found) return found
    throw authError(service, 'wrong-region', {
      detail: `Credential should be scoped to a valid region, not '${region}'.`,
      hint: `This cloud has ${this.names.join(', ')}; hearth up --more-regions adds others.`,
    })
  }

  /** Makes the account in a region, at the latest when it first calls there: in AWS it has a default VPC in each. */
  async ensureAccount(place: Region, accountId: string): Promise<void> {
    const key = `${place.region} ${accountId}`
    if (place === this.home || this.#accounts.has(key)) return
    const known = await this.home.store.read((db) =>
      db.selectFrom('accounts').select('name').where('account_id', '=', accountId).executeTakeFirst())
    if (!known) return
    await place.store.transaction('account.region', (db) =>
      ensureAccount(db, { ...this.#ambient, zones: place.zones }, { accountId, name: known.name }))
    this.#accounts.add(key)
  }

  /** Makes all accounts that there are in all regions. */
  async ensureAccounts(): Promise<void> {
    const rows = await this.home.store.read((db) => db.selectFrom('accounts').select('account_id').execute())
    for (const place of this.#all.values()) {
      for (const row of rows) await this.ensureAccount(place, row.account_id)
    }
  }

  /**
   * Makes sure that no address is in use that is not of its region's block, since another region, now or later, may give it out: the
   * blocks follow from the settings, which may have been others when it was given out.
   *
   * @throws Error that names the address.
   */
  async checkAddresses(): Promise<void> {
    if (this.#all.size === 1) return
    for (const { region, store } of this.#all.values()) {
      for (const address of await addressesIn(store)) {
        const number = parseIpv4(address)
        const owner = [...this.#all.values()].find(({ publicPool }) => number !== undefined && contains(publicPool, number))
        if (owner?.region === region) continue
        throw new Error(
          `${address} is in use in ${region}, and with these settings it is ${owner ? `one of ${owner.region}'s` : "in no region's block"}; `
          + 'name the regions as they were, or release it first',
        )
      }
    }
  }
}

/** Public addresses that interfaces have, or accounts. */
function addressesIn(store: Store): Promise<string[]> {
  return store.read(async (db) => {
    const [interfaces, secondary, elastic] = [
      await db.selectFrom('interfaces').select('public_ip').where('public_ip', 'is not', null).execute(),
      await db.selectFrom('interface_addresses').select('public_ip').where('public_ip', 'is not', null).execute(),
      await db.selectFrom('addresses').select('public_ip').execute(),
    ]
    return [...interfaces, ...secondary, ...elastic].flatMap((row) => row.public_ip ?? [])
  })
}
