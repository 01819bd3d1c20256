import { beforeEach, describe, expect, it } from 'vitest'
import { defaultNetwork, failZone, insertInstance, insertInterface, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { insertTags } from '../ec2/tags.ts'
import { insertRule } from '../model/security-group.ts'
import { readSettings } from '../settings.ts'
import { firstObstacle, formatAnswer, readDestination, toJson, whyNot } from './why-not.ts'

let test: TestStore
let ids: { web: string; db: string; webPort: string; dbPort: string; group: string; subnet: string; vpc: string }
beforeEach(async () => {
  test = await openTestStore()
  ids = await test.run(async (context) => {
    const { subnet, groupId } = await defaultNetwork(context)
    const web = await insertInstance(context)
    const db = await insertInstance(context, { state: 'stopped' })
    await insertTags(context.db, context.account, 'instance', web.instance_id, [{ key: 'Name', value: 'web' }])
    await insertTags(context.db, context.account, 'instance', db.instance_id, [{ key: 'Name', value: 'db' }])
    const webPort = await insertInterface(context, web, { private_ip: '172.31.0.10', public_ip: '198.18.0.7' })
    const dbPort = await insertInterface(context, db, { private_ip: '172.31.0.11', wanted: 0 })
    return {
      web: web.instance_id, db: db.instance_id, webPort: webPort.interface_id, dbPort: dbPort.interface_id, group: groupId,
      subnet: subnet.subnet_id, vpc: subnet.vpc_id,
    }
  })
})

const ask = async (source: string, destination: string, protocol?: 'udp') =>
  whyNot(test.store, '198.18.0.0/24', { source, ...readDestination(destination, protocol) })
const text = async (source: string, destination: string) => formatAnswer(await ask(source, destination))
const failure = (attempt: Promise<unknown>) => attempt.then(() => 'no failure', (error: Error) => error.message)

describe('hearth why-not', () => {
  it('shows the way of a packet and of its answer, of stopped instances as if they ran', async () => {
    const { webPort, dbPort, group, subnet, db } = ids
    expect(await text('web', 'db:5432')).toBe([
      'tcp 172.31.0.10 → 172.31.0.11:5432',
      `  (${db} is stopped; judged as if it ran)`,
      `  ✓ ${webPort} (172.31.0.10) in ${subnet}`,
      `  ✓ ${group} lets it out: all traffic to 0.0.0.0/0`,
      `  ✓ ${group} lets it in: all traffic from ${group}`,
      `  ✓ ${dbPort} (172.31.0.11) in ${subnet}`,
      'and the answer',
      `  ✓ ${dbPort} (172.31.0.11) in ${subnet}`,
      `  ✓ ${webPort} (172.31.0.10) in ${subnet}`,
      'gets through',
    ].join('\n'))
  })

  it('names what stops a packet where it does, and what would let it through', async () => {
    const { group, webPort, subnet, vpc } = ids
    const answer = await text('internet', 'web:22')
    expect(answer).toContain(`✓ the internet gateway of ${vpc}: tcp 203.0.113.9 → 172.31.0.10:22\n`)
    expect(answer).toContain(
      `  ✗ no inbound rule of ${group} matches tcp 22 from 203.0.113.9; add one that allows it\n  ✓ ${webPort} (172.31.0.10) in ${subnet}\n`)
    expect(answer).toMatch(/\nstopped by one thing$/)
    const settings = readSettings({ engine: 'sim', home: '/nowhere' }, {})
    const ssh = () => firstObstacle(test.store, settings, { source: 'internet', destination: 'web', port: 22 })
    expect(await ssh()).toContain(`no inbound rule of ${group} matches tcp 22`)
    await test.run(({ db, random, account }) => insertRule(db, random, {
      accountId: account, groupId: group, isEgress: false, protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '0.0.0.0/0',
    }))
    expect(await text('internet', 'web:22')).toMatch(/gets through$/)
    expect(await ssh()).toBeUndefined()
    expect(await text('db', '203.0.113.1:443')).toMatch(/✗ 172.31.0.11 has no public address, .* Elastic IP, or route by a NAT gateway/)
  })

  it.each([['unavailable', 'has failed', 'ZONE_UNAVAILABLE'], ['impaired', 'is impaired', 'ZONE_IMPAIRED']] as const)(
    'names a zone that is %s, at whichever end, whatever else stops it', async (state, says, code) => {
      const { webPort, dbPort, subnet } = ids
      const zone = await test.run(async ({ db }) => {
        const row = await db.selectFrom('subnets').select('zone').where('subnet_id', '=', subnet).executeTakeFirstOrThrow()
        await failZone(db, row.zone, state)
        return row.zone
      })
      const answer = await ask('web', 'db:5432')
      const why = `${zone} ${says}, so that nothing gets in or out at ${webPort} and ${dbPort}; hearth zone heal ${zone} brings it back`
      expect(formatAnswer(answer)).toContain(`  ✗ ${why}\n`)
      expect(formatAnswer(answer)).toMatch(/\nstopped by one thing$/)
      expect(toJson(answer)).toMatchObject({ isReachable: false, obstacles: [{ code, isReply: false, text: why }] })
      expect(await text('internet', 'web:22')).toMatch(/\nstopped by 2 things$/)
      const settings = readSettings({ engine: 'sim', home: '/nowhere' }, {})
      expect(await firstObstacle(test.store, settings, { source: 'internet', destination: 'web', port: 22 })).toContain(says)
    })

  it('takes ids, beginnings of ids, interfaces and addresses for the same', async () => {
    const sources = [ids.web, ids.web.slice(0, 12), ids.webPort, ids.webPort.slice(0, 12), '172.31.0.10', '198.18.0.7']
    for (const source of sources) {
      const { verdict } = await ask(source, '172.31.0.11')
      expect({ source, isReachable: verdict.isReachable, from: verdict.packet.source }).toEqual({ source, isReachable: true, from: '172.31.0.10' })
    }
    expect((await ask('db', '198.18.0.7:80')).verdict.packet.destination).toBe('198.18.0.7')
    expect((await ask('web', '172.31.0.2:53', 'udp')).verdict.forward.at(-1)).toMatchObject({ kind: 'service', name: 'resolver' })
  })

  it('says what it does not understand', async () => {
    expect(await failure(ask('nobody', 'web:22'))).toMatch(/no instance has the id or the Name "nobody"; there are/)
    expect(await failure(ask('eni-00000000000000000', 'web:22'))).toBe('there is no network interface eni-00000000000000000')
    expect(await failure(ask('internet', '192.0.2.1:80'))).toMatch(/neither internet nor 192.0.2.1 is anybody's here/)
    expect(() => readDestination('web', 'udp')).toThrow('udp needs a port: web:22')
    expect(() => readDestination('web:22', 'icmp')).toThrow('icmp has no ports')
    expect(() => readDestination('web:70000', undefined)).toThrow('70000 is no port')
  })
})
