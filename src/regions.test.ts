import { expect, it } from 'vitest'
import { fixedClock, insertInstance, insertInterface, openTestStore } from '../test/support/rows.ts'
import { parseCidr } from './core/cidr.ts'
import { seededRandom } from './core/random.ts'
import { Regions, type Region } from './regions.ts'

const regionOf = async (region: string, pool: string, publicIp?: string): Promise<Region> => {
  const test = await openTestStore()
  if (publicIp !== undefined) await test.run(async (context) => insertInterface(context, await insertInstance(context), { public_ip: publicIp }))
  const publicPool = parseCidr(pool)
  if (!publicPool) throw new Error(`${pool} is no block`)
  return { region, zones: [`${region}a`], store: test.store, publicPool }
}

it.each([
  ['198.18.0.7', undefined],
  ['198.18.4.7', "198.18.4.7 is in use in us-east-1, and with these settings it is one of eu-west-1's; name the regions as they were, or release it first"],
  ['192.0.2.7', '192.0.2.7 is in use in us-east-1, and with these settings it is in no region\'s block; name the regions as they were, or release it first'],
])('an address in use is in the block of its region: %s', async (address, why) => {
  const [home, other] = [await regionOf('us-east-1', '198.18.0.0/22', address), await regionOf('eu-west-1', '198.18.4.0/22')]
  const check = new Regions(home, [other], { clock: fixedClock, random: seededRandom(1) }).checkAddresses()
  if (why === undefined) await check
  else await expect(check).rejects.toThrow(why)
  await new Regions(home, [], { clock: fixedClock, random: seededRandom(1) }).checkAddresses()
  for (const { store } of [home, other]) await store.close()
})
