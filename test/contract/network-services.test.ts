import { execFileSync } from 'node:child_process'
import dgram from 'node:dgram'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import dnsPacket from 'dns-packet'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { ensureIdentityKey, type IdentityKey } from '../../src/imds/identity-key.ts'
import { createDatabaseServices } from '../../src/imds/services.ts'
import { createVpcServices } from '../../src/network/services/index.ts'
import type { VpcServicesServer } from '../../src/network/services-server.ts'
import { vpcDoc } from '../../src/model/vpc-wire.ts'
import { insertInstance, insertInterface, openTestStore, REGION, type TestStore } from '../support/rows.ts'
import { addSecondary, changeVpc, giveOptions } from '../support/vpc-services.ts'
import { makeServiceNamespaces, type ServiceNamespaces } from './service-namespaces.ts'

const MAC = '0a:12:34:56:78:9a'
const ADDRESS = '172.31.5.10'
const SECONDARY = '172.31.5.11'
const GATEWAY = '172.31.0.1'
const RESOLVERS = ['172.31.0.2', '169.254.169.253']
const LISTEN = { dhcp: true, dns: RESOLVERS, metadata: '169.254.169.254', ntp: '169.254.169.123' } as const
const METADATA = 'http://169.254.169.254/latest'

/** Asks one question, as a program of the guest would, and prints the answer. */
const ASK = `
import dgram from 'node:dgram'
import net from 'node:net'
import dnsPacket from 'dns-packet'
const [transport, server, type, name] = process.argv.slice(1)
const query = { type: 'query', id: 4711, flags: dnsPacket.RECURSION_DESIRED, questions: [{ type, name }] }
const show = (answer) => {
  console.log(JSON.stringify({ id: answer.id, rcode: answer.rcode, data: answer.answers.map((each) => each.data) }))
  process.exit()
}
if (transport === 'udp') {
  const socket = dgram.createSocket('udp4')
  socket.on('message', (message) => show(dnsPacket.decode(message)))
  socket.send(dnsPacket.encode(query), 53, server)
} else {
  const socket = net.connect(53, server)
  socket.on('data', (chunk) => show(dnsPacket.streamDecode(chunk)))
  socket.write(dnsPacket.streamEncode(query))
}
`

/** Asks for the time as an SNTP client does, and prints the answer. */
const ASK_TIME = `
import dgram from 'node:dgram'
import { randomBytes } from 'node:crypto'
const request = Buffer.alloc(48)
request[0] = (4 << 3) | 3
randomBytes(8).copy(request, 40)
const socket = dgram.createSocket('udp4')
socket.on('message', (reply, from) => {
  const ms = (offset) => (reply.readUInt32BE(offset) - 2208988800) * 1000 + (reply.readUInt32BE(offset + 4) * 1000) / 2 ** 32
  console.log(JSON.stringify({
    from: from.address, mode: reply[0] & 7, stratum: reply[1], isMine: reply.subarray(24, 32).equals(request.subarray(40)),
    receivedMs: ms(32), sentMs: ms(40),
  }))
  process.exit()
})
socket.send(request, 123, '169.254.169.123')
`

/** Follows every listing below /latest/ and prints the paths; one that is not answered with what it is for. */
const CRAWL = `
import http from 'node:http'
const get = (path, agent) => new Promise((done, failed) => http.get('http://169.254.169.254' + path, { agent }, (answer) => {
  let text = ''
  answer.on('data', (chunk) => (text += chunk)).on('end', () => done({ status: answer.statusCode, text }))
}).on('error', failed))
const one = new http.Agent({ keepAlive: true, maxSockets: 1 })
const found = []
const crawl = async (path, agent) => {
  const { status, text } = await get(path, agent)
  const other = await get(path, new http.Agent())
  found.push(status === 200 && other.text === text ? path : path + ' ' + status)
  if (!path.endsWith('/')) return
  const names = path === '/latest/' ? text.split('\\n').map((name) => (name === 'user-data' ? name : name + '/')) : text.split('\\n')
  await Promise.all(names.map((name) => crawl(path + (/^\\d+=/.test(name) ? name.replace(/=.*/, '/') : name), agent)))
}
await crawl('/latest/', one)
one.destroy()
console.log(JSON.stringify(found))
`

const absent = ['nsenter', 'ip', 'ss', 'busybox', 'curl'].filter((tool) => !isInstalled(tool))
const isRoot = process.getuid?.() === 0
const missing = isRoot ? absent.map((tool) => `no ${tool}`).join(', ') : 'network namespaces take root'

describe.skipIf(missing !== '')(`the services of a VPC${missing && ` (skipped: ${missing})`}`, () => {
  let namespaces: ServiceNamespaces
  let test: TestStore
  let server: VpcServicesServer
  let vpcId: string
  let instanceId: string
  let identityKey: IdentityKey
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-services-'))
  const upstream = dgram.createSocket('udp4')

  const freshServer = () =>
    createVpcServices({
      services: createDatabaseServices({
        store: test.store, clock: systemClock, region: REGION, secret: Buffer.alloc(32, 7), identityKey,
      }),
      clock: systemClock, log: silentLogger, upstreamDns: [`127.0.0.1:${(upstream.address() as AddressInfo).port}`],
    })
  const curl = (...args: string[]) => namespaces.guest('curl', '-sS', '--fail', '-m', '5', ...args)
  const status = (...args: string[]) =>
    namespaces.guest('curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', ...args)
  const ask = async (transport: 'udp' | 'tcp', type: string, name: string, resolver = RESOLVERS[0] ?? '') =>
    JSON.parse(
      await namespaces.guest(process.execPath, '--input-type=module', '-e', ASK, transport, resolver, type, name),
    ) as { id: number; rcode: string; data: string[] }

  beforeAll(async () => {
    test = await openTestStore()
    identityKey = await ensureIdentityKey(test.store, { clock: systemClock, random: systemRandom })
    await test.run(async (context) => {
      const instance = await insertInstance(context)
      const row = await insertInterface(context, instance, { private_ip: ADDRESS, mac: MAC, public_ip: '198.18.0.9' })
      await addSecondary(context, row, SECONDARY, '198.18.0.10')
      vpcId = instance.vpc_id
      instanceId = instance.instance_id
    })
    upstream.on('message', (message, from) => {
      const query = dnsPacket.decode(message)
      const name = query.questions?.[0]?.name ?? ''
      if (name === 'silent.example') return
      upstream.send(dnsPacket.encode({
        type: 'response', id: query.id, questions: query.questions,
        answers: [{ type: 'A', name, ttl: 5, data: '192.0.2.7' }],
      }), from.port, from.address)
    })
    await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve))
    namespaces = makeServiceNamespaces({ mac: MAC, addresses: [ADDRESS, SECONDARY], gateway: GATEWAY, resolvers: RESOLVERS })
    server = freshServer()
    await server.open(vpcId, namespaces.vpcPath, LISTEN)
  })

  afterAll(async () => {
    await server?.closeAll()
    namespaces?.remove()
    upstream.close()
    rmSync(folder, { recursive: true })
    await test?.store.close()
  })

  it('give a DHCP client its lease, and renew it with what has changed', async () => {
    const events = path.join(folder, 'events')
    const script = path.join(folder, 'event')
    writeFileSync(script, `#!/bin/sh
[ "$1" = deconfig ] && { ip address flush dev $interface; exit; }
ip address replace $ip/$mask dev $interface
ip route replace default via $router dev $interface
echo "$1 $ip $subnet $router [$dns] $domain $hostname $mtu $broadcast $serverid $lease [$ntpsrv] [$wins] [$staticroutes]" >>${events}
`)
    chmodSync(script, 0o755)
    const client = namespaces.guestProcess(
      'busybox', 'udhcpc', '-f', '-i', 'eth0', '-t', '10', '-T', '1', '-O', 'mtu', '-O', 'hostname', '-O', 'ntpsrv', '-O', 'wins',
      '-O', '121', '-s', script)
    const seen = () => (existsSync(events) ? readFileSync(events, 'utf8').trim().split('\n') : [])
    const renewed = async (times: number) => {
      client.kill('SIGUSR1')
      await waitFor(systemClock, 'the renewal', 20_000, () => seen().length === times + 1)
      return seen()[times]
    }
    const lease = (dns: string, domain: string, ntp = '', wins = '') => [
      ADDRESS, '255.255.240.0', GATEWAY, `[${dns}]`, domain, 'ip-172-31-5-10', '1500', '172.31.15.255',
      GATEWAY, '3600', `[${ntp}]`, `[${wins}]`, `[169.254.169.254/32 ${GATEWAY} 0.0.0.0/0 ${GATEWAY}]`,
    ].join(' ')
    const { dhcpOptionsId } = await test.run(async ({ db }) =>
      vpcDoc(await db.selectFrom('vpcs').select('doc').where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()))
    try {
      await waitFor(systemClock, 'a lease', 20_000, () => seen().length === 1)
      expect(seen()).toEqual([`bound ${lease('172.31.0.2', 'ec2.internal')}`])
      expect(await renewed(1)).toBe(`renew ${lease('172.31.0.2', 'ec2.internal')}`)
      await giveOptions(test, vpcId, {
        'domain-name': ['example.com'], 'domain-name-servers': ['10.0.0.5', 'AmazonProvidedDNS'],
        'ntp-servers': ['10.0.0.6', '10.0.0.7'], 'netbios-name-servers': ['10.0.0.8'], 'netbios-node-type': ['2'],
      })
      expect(await renewed(2)).toBe(`renew ${lease('10.0.0.5 172.31.0.2', 'example.com', '10.0.0.6 10.0.0.7', '10.0.0.8')}`)
    } finally {
      client.kill('SIGKILL')
      await changeVpc(test, vpcId, { dhcpOptionsId })
    }
  })

  it.each(['udp', 'tcp'] as const)('answer names over %s', async (transport) => {
    expect(await ask(transport, 'A', 'ip-172-31-5-10.ec2.internal')).toEqual({
      id: 4711, rcode: 'NOERROR', data: [ADDRESS],
    })
    expect(await ask(transport, 'PTR', '10.5.31.172.in-addr.arpa', RESOLVERS[1])).toEqual({
      id: 4711, rcode: 'NOERROR', data: ['ip-172-31-5-10.ec2.internal'],
    })
  })

  it('resolve a public name to the private address, secondary ones too', async () => {
    expect((await ask('udp', 'A', 'ec2-198-18-0-9.compute-1.amazonaws.com')).data).toEqual([ADDRESS])
    expect((await ask('udp', 'A', 'ec2-198-18-0-10.compute-1.amazonaws.com')).data).toEqual([SECONDARY])
    expect((await ask('udp', 'A', 'ip-172-31-5-11.ec2.internal')).data).toEqual([SECONDARY])
    expect((await ask('udp', 'PTR', '11.5.31.172.in-addr.arpa')).data).toEqual(['ip-172-31-5-11.ec2.internal'])
  })

  it('say that a name has no IPv6 address, and not that there is no such name', async () => {
    for (const name of ['ip-172-31-5-10.ec2.internal', 'ec2-198-18-0-9.compute-1.amazonaws.com']) {
      expect(await ask('udp', 'AAAA', name)).toEqual({ id: 4711, rcode: 'NOERROR', data: [] })
    }
  })

  it('know no names once the VPC gives none, but ask outside as before', async () => {
    await changeVpc(test, vpcId, { enableDnsHostnames: false })
    try {
      expect((await ask('udp', 'A', 'ip-172-31-5-10.ec2.internal')).rcode).toBe('NXDOMAIN')
      expect((await ask('udp', 'A', 'ec2-198-18-0-9.compute-1.amazonaws.com')).rcode).toBe('NXDOMAIN')
      expect((await ask('udp', 'A', 'example.org')).data).toEqual(['192.0.2.7'])
      expect(await status(`${METADATA}/meta-data/public-hostname`)).toBe('404')
    } finally {
      await changeVpc(test, vpcId, { enableDnsHostnames: true })
    }
  })

  it("tell the host's time", async () => {
    const before = Date.now()
    const told = JSON.parse(await namespaces.guest(process.execPath, '--input-type=module', '-e', ASK_TIME)) as
      { receivedMs: number; sentMs: number }
    expect(told).toMatchObject({ from: '169.254.169.123', mode: 4, stratum: 10, isMine: true })
    // Fractions of 2^-32 seconds are rounded down.
    expect(told.receivedMs).toBeGreaterThan(before - 1)
    expect(told.sentMs).toBeGreaterThanOrEqual(told.receivedMs)
    expect(told.sentMs).toBeLessThanOrEqual(Date.now())
  })

  it('say that a private name of nobody does not exist', async () => {
    expect(await ask('udp', 'A', 'ip-172-31-5-12.ec2.internal')).toEqual({ id: 4711, rcode: 'NXDOMAIN', data: [] })
  })

  it('ask the outer resolver for any other name, and fail when it is silent', async () => {
    expect(await ask('udp', 'A', 'example.org')).toEqual({ id: 4711, rcode: 'NOERROR', data: ['192.0.2.7'] })
    expect((await ask('udp', 'A', 'silent.example')).rcode).toBe('SERVFAIL')
  })

  it('serve metadata with a session token', async () => {
    const token = await curl('-X', 'PUT', '-H', 'X-aws-ec2-metadata-token-ttl-seconds: 60', `${METADATA}/api/token`)
    const header = `X-aws-ec2-metadata-token: ${token}`
    expect(await curl('-H', header, `${METADATA}/meta-data/instance-id`)).toBe(instanceId)
    const head = await curl('-I', '-H', header, `${METADATA}/meta-data/local-ipv4`)
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(head).toMatch(new RegExp(`^content-length: ${ADDRESS.length}\r$`, 'm'))
  })

  it('serve metadata to a secondary address as to the primary one', async () => {
    await namespaces.guest('ip', 'address', 'add', `${SECONDARY}/32`, 'dev', 'eth0')
    expect(await curl('--interface', SECONDARY, `${METADATA}/meta-data/instance-id`)).toBe(instanceId)
    expect(await curl('--interface', SECONDARY, `${METADATA}/meta-data/network/interfaces/macs/${MAC}/local-ipv4s`))
      .toBe(`${ADDRESS}\n${SECONDARY}`)
  })

  it('let a guest crawl the whole tree, as cloud-init does, on one connection and on many', async () => {
    const crawled = JSON.parse(await namespaces.guest(process.execPath, '--input-type=module', '-e', CRAWL)) as string[]
    expect(crawled).toContain(`/latest/meta-data/network/interfaces/macs/${MAC}/vpc-id`)
    expect(crawled).toContain('/latest/dynamic/instance-identity/rsa2048')
    expect(crawled.filter((line) => line.includes(' '))).toEqual([])
    expect(crawled.length).toBeGreaterThan(45)
  })

  it('answer hundreds of requests at once to one guest', async () => {
    const same = `import http from 'node:http'
      const agent = new http.Agent({ keepAlive: true, maxSockets: 20 })
      const ask = () => new Promise((done) => http.get('${METADATA}/dynamic/instance-identity/signature', { agent }, (answer) => {
        answer.resume().on('end', () => done(answer.statusCode))
      }).on('error', (error) => done(error.message)))
      console.log(JSON.stringify([...new Set(await Promise.all(Array.from({ length: 500 }, ask)))]))
      agent.destroy()`
    expect(JSON.parse(await namespaces.guest(process.execPath, '--input-type=module', '-e', same))).toEqual([200])
  })

  it('refuse a request with a large body, and go on', async () => {
    const large = path.join(folder, 'large')
    writeFileSync(large, Buffer.alloc(1_000_000))
    expect(await status('-X', 'PUT', '-H', 'Expect:', '-T', large, `${METADATA}/api/token`)).toBe('413')
    expect(await status(`${METADATA}/`)).toBe('200')
  })

  it('survive junk on every port', async () => {
    const junk = `import dgram from 'node:dgram'; import net from 'node:net'; import { randomBytes } from 'node:crypto'
      const socket = dgram.createSocket('udp4')
      for (let n = 0; n < 200; n++) for (const [port, host] of [[67, '${GATEWAY}'], [53, '${RESOLVERS[0]}'], [123, '169.254.169.123']])
        await new Promise((done) => socket.send(randomBytes(n * 3), port, host, done))
      socket.close()
      for (const [port, host] of [[53, '${RESOLVERS[0]}'], [80, '169.254.169.254']]) await new Promise((done) => {
        const stream = net.connect(port, host, () => stream.end(randomBytes(5000)))
        stream.on('error', done).on('close', done).resume()
      })`
    await namespaces.guest(process.execPath, '--input-type=module', '-e', junk)
    expect((await ask('udp', 'A', 'ip-172-31-5-10.ec2.internal')).data).toEqual([ADDRESS])
    expect(await curl(`${METADATA}/meta-data/mac`)).toBe(MAC)
  })

  it('change nothing when they are open already', async () => {
    const before = namespaces.inodes()
    await server.open(vpcId, namespaces.vpcPath, LISTEN)
    expect(namespaces.inodes()).toEqual(before)
    expect(before).toHaveLength(7)
    expect(namespaces.listening()).toEqual([
      'tcp 169.254.169.253:53', 'tcp 169.254.169.254:80', 'tcp 172.31.0.2:53', 'udp 0.0.0.0:67',
      'udp 169.254.169.123:123', 'udp 169.254.169.253:53', 'udp 172.31.0.2:53',
    ])
  })

  it('close the sockets of the resolver in a VPC without one, and open them again', async () => {
    await server.open(vpcId, namespaces.vpcPath, { ...LISTEN, dns: [] })
    expect(namespaces.listening()).toEqual(['tcp 169.254.169.254:80', 'udp 0.0.0.0:67', 'udp 169.254.169.123:123'])
    expect(await curl(`${METADATA}/meta-data/mac`)).toBe(MAC)
    await server.open(vpcId, namespaces.vpcPath, LISTEN)
    expect((await ask('udp', 'A', 'ip-172-31-5-10.ec2.internal')).data).toEqual([ADDRESS])
  })

  it('say which address is taken, and leave none of theirs open', async () => {
    const second = freshServer()
    await expect(second.open('vpc-second', namespaces.vpcPath, LISTEN)).rejects.toThrow(/EADDRINUSE .*0\.0\.0\.0:67/)
    await server.close(vpcId)
    await expect(second.open('vpc-second', namespaces.vpcPath, { ...LISTEN, dns: ['192.0.2.1'] }))
      .rejects.toThrow(/EADDRNOTAVAIL .*192\.0\.2\.1:53/)
    expect(namespaces.listening()).toEqual([])
    await expect(second.open('vpc-second', '/run/netns/none-such', LISTEN)).rejects.toThrow(/none-such/)
    await server.open(vpcId, namespaces.vpcPath, LISTEN)
  })

  it('answer again within a second when another agent opens them, and leave nothing when closed', async () => {
    await server.closeAll()
    expect(namespaces.listening()).toEqual([])
    const begunMs = Date.now()
    server = freshServer()
    await server.open(vpcId, namespaces.vpcPath, LISTEN)
    expect(await curl(`${METADATA}/meta-data/local-ipv4`)).toBe(ADDRESS)
    expect(Date.now() - begunMs).toBeLessThan(1000)
    await server.close(vpcId)
    await server.close(vpcId)
    expect(namespaces.listening()).toEqual([])
  })
})

function isInstalled(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
