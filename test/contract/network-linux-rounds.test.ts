import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { pick, seededRandom } from '../../src/core/random.ts'
import type { VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import { createLab, type Lab, lackingForLab } from '../support/network-lab.ts'
import { POOL } from '../support/network-rig.ts'
import { noServer, peered } from '../support/routing-rig.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Rounds of making and removing VPCs: not tested, since they need ${lacking}.`)

const ROUNDS = 100

describe.skipIf(lacking !== undefined)('A hundred rounds of making and removing VPCs on Linux', { timeout: 240_000 }, () => {
  let lab: Lab
  const create = () => createLinuxNetwork({
    homeId: lab.homeId, publicPool: POOL, clock: systemClock, log: silentLogger, exec: lab.exec, services: noServer,
  })
  beforeAll(async () => {
    lab = await createLab()
  })
  afterAll(() => lab.close())

  /** What of this home is in the kernel: namespaces, links, rules and routes. */
  async function left(): Promise<string[]> {
    const lines = async (...command: string[]) => (await lab.exec.host(command)).split('\n')
    const named = [...await lines('ip', 'netns', 'list'), ...await lines('ip', '-br', 'link')].filter((line) => line.includes(lab.homeId))
    const routes = (await lines('ip', 'route', 'show', 'table', 'all')).filter((line) => line.includes('198.18.'))
    const rules = (await lines('nft', 'list', 'ruleset')).filter((line) => line !== '')
    return [...named, ...routes, ...rules].toSorted()
  }

  it('leave nothing: no namespace, link, rule or route', async () => {
    const random = seededRandom(4)
    const isIn = () => random.int(2) === 0
    /** A VPC with some of its ports, and with or without its NAT gateway and its peering. */
    const some = (spec: VpcSpec): VpcSpec => ({
      ...spec, ports: spec.ports.filter(isIn), natGateways: spec.natGateways.filter(isIn), peerings: spec.peerings.filter(isIn),
    })
    const before = await left()
    let network = create()
    await network.ensureHost()
    const bare = await left()
    for (let round = 0; round < ROUNDS; round++) {
      const spec = pick(random, peered())
      if (random.int(3) > 0) await network.syncVpc(some(spec))
      else await network.removeVpc(spec.vpcId)
      // An agent that died and came back remembers nothing.
      if (random.int(10) === 0) network = create()
    }
    for (const spec of peered()) await network.removeVpc(spec.vpcId)
    expect(await left()).toEqual(bare)
    await network.removeAll()
    expect(await left()).toEqual(before)
  })
})
