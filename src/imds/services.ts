import type { Clock } from '../core/clock.ts'
import type { VpcServices } from '../network/driver.ts'
import type { Store } from '../store/store.ts'
import { noteContact } from './contact.ts'
import { createIdentitySigner, identityDocument } from './identity.ts'
import type { IdentityKey } from './identity-key.ts'
import { findLease } from './leases.ts'
import { resolveAddress, resolveAddressElsewhere, resolveName, resolveNameElsewhere, type NamedRegion } from './names.ts'
import { answerMetadata, answerStranger } from './server.ts'
import { loadInstanceMetadata } from './view.ts'

/** Answers what guests ask from the database, which alone knows who has which address. */
export function createDatabaseServices(options: {
  store: Store
  clock: Clock
  region: string
  /** Regions beside it; none unless given. */
  otherRegions?: readonly NamedRegion[]
  /** Signs the metadata service's tokens; the same after a restart, so that they stay good. */
  secret: Buffer
  /** Signs identity documents. */
  identityKey: IdentityKey
}): VpcServices {
  const { store, clock, region, otherRegions = [], secret, identityKey } = options
  const signIdentity = createIdentitySigner(identityKey)
  return {
    async leaseFor(vpcId, mac) {
      const lease = await store.read((db) => findLease(db, region, vpcId, mac))
      if (lease) await noteContact(options, vpcId, mac)
      return lease
    },
    async resolveName(vpcId, name) {
      return (await store.read((db) => resolveName(db, region, vpcId, name))) ?? resolveNameElsewhere(otherRegions, name)
    },
    async resolveAddress(vpcId, address) {
      return (await store.read((db) => resolveAddress(db, region, vpcId, address))) ?? resolveAddressElsewhere(otherRegions, address)
    },
    async metadata(vpcId, address, request) {
      const view = await store.read((db) => loadInstanceMetadata(db, region, vpcId, address))
      if (!view) return answerStranger()
      const signatures = await signIdentity(identityDocument(view), view.launchMs)
      return answerMetadata(view, request, { nowMs: clock.now(), secret, signatures })
    },
  }
}
