import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network, VpcSpec } from '../../src/network/driver.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'
import type { VpcServicesServer } from '../../src/network/services-server.ts'
import { describePacket, explain } from '../../src/vpc/reach-text.ts'
import { reach, type Probe, type Verdict } from '../../src/vpc/reach.ts'
import { ICMP, TCP, UDP } from '../../src/vpc/reach-world.ts'
import { createLab, HOST_ADDRESS, lackingForLab, type Guest, type Lab } from '../support/network-lab.ts'
import { OUTSIDE, PLACES, RANDOM_POOL, randomVpcs, SECONDARY, worldOf } from '../support/random-vpcs.ts'

// Random VPCs in the kernel, and in the evaluator: what the one says of a packet, the other must say too.

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`The kernel against the evaluator: not tested, since it needs ${lacking}.`)

/** How many pairs of VPCs are drawn; each is asked for some 1,000 packets at once. */
const WORLDS = Number(process.env.HEARTH_REACH_WORLDS ?? 10)
/** Around the ends of the ranges that rules have. */
const PORTS = {
  tcp: [22, 23, 25, 30, 31, 80, 443, 1023, 1024, 5000, 8080, 60_000],
  udp: [22, 53, 123, 1023, 1024, 5000],
}
/** What is asked for at every address: a protocol and a port, or echo. */
const QUESTIONS = ['echo', ...PORTS.tcp.map((port) => `tcp ${port}`), ...PORTS.udp.map((port) => `udp ${port}`)]
const DESTINATIONS = [...[...PLACES, SECONDARY].flatMap((place) => [place.privateIp, place.publicIp]), OUTSIDE, '198.18.4.200', '10.0.0.50']

/** Nobody asks for services here. */
const noServices: VpcServicesServer = { open: async () => {}, close: async () => {}, closeAll: async () => {} }

/** Answers every connection and datagram with who it is, which proves that packets come and go. */
const SERVER = `(async () => {
  const [net, dgram] = await Promise.all([import('node:net'), import('node:dgram')])
  const [name, own, tcp, udp] = process.argv.slice(1)
  const answer = (socket) => { socket.on('error', () => {}); socket.end(name) }
  for (const port of tcp.split(',')) await new Promise((done) => net.createServer(answer).listen(Number(port), '0.0.0.0', done))
  // One for each address: from a socket for all of them every answer would be the primary one's.
  for (const [port, address] of udp.split(',').flatMap((port) => own.split(',').map((address) => [port, address]))) {
    const socket = dgram.createSocket('udp4')
    socket.on('error', () => {}).on('message', (_, from) => socket.send(name, from.port, from.address))
    await new Promise((done) => socket.bind(Number(port), address, done))
  }
  console.log('ready')
})()`

/**
 * Asks every "address protocol port" of its arguments at once; prints what each one's server said.
 * Datagrams come from ports that no earlier ones came from: what goes on under other rules is let through.
 */
const CLIENT = `Promise.all([import('node:net'), import('node:dgram')]).then(([{default: net}, {default: dgram}]) => {
  const [source, firstPort, ...targets] = process.argv.slice(1)
  for (const [at, target] of targets.entries()) {
    const [host, protocol, port] = target.split(' ')
    const say = (who) => console.log(target + ' ' + who)
    if (protocol === 'tcp') {
      const socket = net.connect({ host, port: Number(port), ...(source ? { localAddress: source } : {}) })
      let said = ''
      socket.on('data', (data) => (said += data)).on('end', () => said && say(said)).on('error', () => {})
    } else {
      const socket = dgram.createSocket('udp4')
      // Of an answer under another address than was asked nobody would know what it answers.
      socket.on('error', () => {}).on('message', (who, from) => from.address === host && say(who))
      socket.bind(Number(firstPort) + at, source || undefined, () => socket.send('who', Number(port), host, () => {}))
    }
  }
  setTimeout(() => process.exit(), 1500)
})`

/** A guest, or the host as one who is outside, with the source address that it must say. */
interface Place {
  guest: Guest
  source: Probe['source']
  sourceIp: string
  /** All that it answers under. */
  addresses: string[]
}

describe.skipIf(lacking !== undefined)('The kernel and the evaluator', { timeout: 60_000 + WORLDS * 5000 }, () => {
  let lab: Lab
  let network: Network
  let places: Place[]

  beforeAll(async () => {
    lab = await createLab()
    network = createLinuxNetwork({
      homeId: lab.homeId, publicPool: RANDOM_POOL, clock: systemClock, log: silentLogger, exec: lab.exec, services: noServices,
    })
    await network.ensureHost()
    const vpcs = fc.sample(randomVpcs, { numRuns: 1, seed: 1 })[0]!.map((vpc) => ({ ...vpc, natGateways: [], peerings: [] }))
    for (const vpc of vpcs) await network.syncVpc({ ...vpc, ports: [] })
    places = [
      { guest: lab.host, source: { outside: HOST_ADDRESS }, sourceIp: HOST_ADDRESS, addresses: [] },
      ...(await Promise.all(vpcs.flatMap((vpc) => vpc.ports.map(async (port): Promise<Place> => {
        const netns = network.netnsPathOf(vpc.slot)!.split('/').at(-1)!
        const gateway = port.privateIp.replace(/\d+$/, '1')
        const guest = await lab.guest(netns, network.tapOf(port.slot), port, gateway)
        await guest.run(['busybox', 'sh', '-c', FORWARDING])
        for (const { privateIp } of port.secondary) await guest.run(['ip', 'addr', 'add', `${privateIp}/32`, 'dev', 'eth0'])
        const addresses = [port.privateIp, ...port.secondary.map((each) => each.privateIp)]
        return { guest, source: { interfaceId: port.interfaceId }, sourceIp: port.privateIp, addresses }
      })))),
    ]
    for (const vpc of vpcs) await network.syncVpc(vpc)
    for (const { guest, source, addresses } of places.slice(1)) {
      await serve(guest, 'interfaceId' in source ? source.interfaceId : '', addresses)
    }
    await serve(lab.outside, 'outside', [OUTSIDE])
  })

  afterAll(async () => {
    await network?.removeAll()
    await network?.close()
    await lab?.close()
  })

  const serve = (guest: Guest, name: string, addresses: string[]) =>
    guest.program(SERVER, [name, addresses.join(), PORTS.tcp.join(), PORTS.udp.join()])

  it('agree on random VPCs', async () => {
    const seed = process.env.HEARTH_REACH_SEED
    let asked = 0
    let packets = 0
    let reached = 0
    await fc.assert(fc.asyncProperty(randomVpcs, async (vpcs) => {
      for (const vpc of vpcs) await network.syncVpc(vpc)
      const firstPort = 33_000 + (asked++ * 250) % 27_000
      const seen = await Promise.all(places.map((place) => seenFrom(place, firstPort)))
      const verdicts = places.flatMap(({ source }, at) => judge(vpcs, source).map((each) => ({ ...each, seen: seen[at]!.get(each.key) })))
      packets += verdicts.length
      reached += verdicts.filter((each) => each.seen !== undefined).length
      expect(verdicts.flatMap(differs)).toEqual([])
    }), { numRuns: WORLDS, endOnFailure: true, ...(seed === undefined ? {} : { seed: Number(seed) }) })
    // Else the comparison says nothing.
    expect(packets).toBeGreaterThanOrEqual(WORLDS * 1000)
    expect(reached).toBeGreaterThan(packets / 20)
  })
})

/** A guest whose interface is not checked passes on what it gets. */
const FORWARDING = `cd /proc/sys/net/ipv4; echo 1 > ip_forward
for each in conf/*; do echo 0 > $each/rp_filter; echo 0 > $each/send_redirects; done`

/** From outside there is no way to private addresses, nor back to where one is. */
function destinationsFrom(source: Probe['source']): string[] {
  return 'outside' in source ? [...PLACES, SECONDARY].map((place) => place.publicIp) : DESTINATIONS
}

/** Who answers at each address and port, or to echo; without an entry nobody does. */
async function seenFrom({ guest, source, sourceIp }: Place, firstPort: number): Promise<Map<string, string>> {
  const from = 'outside' in source ? sourceIp : ''
  const destinations = destinationsFrom(source)
  const targets = destinations.flatMap((address) => QUESTIONS.filter((each) => each !== 'echo').map((each) => `${address} ${each}`))
  const ping = `busybox ping -c 1 -W 1 ${from === '' ? '' : `-I ${from}`}`
  const pings = destinations.map((address) => `(${ping} ${address} > /dev/null 2>&1 && echo ${address} echo somebody) &`)
  const [tcp, icmp] = await Promise.all([
    guest.run([process.execPath, '-e', CLIENT, from, String(firstPort), ...targets]),
    guest.run(['busybox', 'sh', '-c', `${pings.join(' ')} wait`]),
  ])
  return new Map(`${tcp.stdout}${icmp.stdout}`.trim().split('\n').filter((line) => line !== '').map((line) => {
    const end = line.lastIndexOf(' ')
    return [line.slice(0, end), line.slice(end + 1)]
  }))
}

function judge(vpcs: VpcSpec[], source: Probe['source']): { key: string; verdict: Verdict }[] {
  return destinationsFrom(source).flatMap((destination) => QUESTIONS.map((question) => {
    const [protocol, port] = question.split(' ')
    const probe = port === undefined ? { protocol: ICMP } : { protocol: protocol === 'tcp' ? TCP : UDP, destinationPort: Number(port) }
    return { key: `${destination} ${question}`, verdict: reach(worldOf(vpcs), { source, destination, ...probe }) }
  }))
}

/** What the evaluator and the kernel say differently of a packet, in a sentence. */
function differs({ verdict, seen }: { verdict: Verdict; seen: string | undefined }): string[] {
  const packet = describePacket(verdict.packet)
  if (verdict.isReachable !== (seen !== undefined)) {
    const why = verdict.obstacles.map((each) => explain(each)).join('; ')
    return [`${packet}: the kernel says ${seen ?? 'no'}, the evaluator ${verdict.isReachable ? 'yes' : why}`]
  }
  const last = verdict.forward.at(-1)
  const who = last?.kind === 'interface' ? last.holder.port.interfaceId : 'outside'
  return seen === undefined || seen === 'somebody' || seen === who ? [] : [`${packet}: ${seen} answers, and not ${who}`]
}

