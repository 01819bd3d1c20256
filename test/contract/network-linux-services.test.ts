import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { lackingForLab } from '../support/network-lab.ts'
import { closed, createRig, FOREIGN_ANSWER, GATEWAY, other, ports, PUBLIC_1, type Rig } from '../support/network-rig.ts'

const lacking = lackingForLab()
if (lacking !== undefined) console.warn(`Services of a VPC: not tested, since it needs ${lacking}.`)


/** Answers of the metadata service that have this TTL, but for the handshake. */
const limited = (hops: number) => `ip saddr 169.254.169.254 tcp flags & syn == 0 ip ttl ${hops}`
/** For printf's %b. */
const escape = (text: string) => text.replaceAll('\r', '\\r').replaceAll('\n', '\\n')

/** A DHCPDISCOVER of that hardware address, as hexadecimal text. */
function discover(mac: string): string {
  const bytes = Buffer.alloc(244)
  bytes.set([1, 1, 6, 0])
  bytes.write(mac.replaceAll(':', ''), 28, 'hex')
  bytes.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236)
  return bytes.toString('hex')
}

describe.skipIf(lacking !== undefined)('DHCP, DNS and metadata of guests on Linux', { timeout: 120_000 }, () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await createRig()
  })
  afterAll(() => rig?.close())

  it('leases an address by DHCP and names by DNS', async () => {
    await rig.sync(closed)
    const script = 'echo "$1 ip=$ip/$mask router=$router dns=$dns domain=$domain host=$hostname mtu=$mtu lease=$lease"'
    const { stdout } = await rig.guest(3).run(['sh', '-c', `
      d=$(mktemp); printf '#!/bin/sh\n%s\n' '${script}' > $d; chmod +x $d
      busybox udhcpc -i eth0 -n -q -f -t 5 -T 1 -O mtu -s $d 2>/dev/null; rm $d`])
    expect(stdout).toContain(
      'bound ip=10.0.0.13/20 router=10.0.0.1 dns=10.0.0.2 domain=ec2.internal host=ip-10-0-0-13 mtu=1500 lease=3600')
    for (const resolver of ['10.0.0.2', '169.254.169.253']) {
      const own = await rig.guest(3).run(['busybox', 'nslookup', '-type=a', 'ip-10-0-0-12.ec2.internal', resolver])
      expect(own.stdout).toContain('10.0.0.12')
      const unknown = await rig.guest(3).run(['busybox', 'nslookup', '-type=a', 'ip-10-9-9-9.ec2.internal', resolver])
      expect(unknown.stdout).toContain('NXDOMAIN')
      const foreign = await rig.guest(3).run(['busybox', 'nslookup', '-type=a', 'example.test', resolver])
      expect(foreign.stdout).toContain(FOREIGN_ANSWER)
    }
  })

  it("does not ask for another guest's lease", async () => {
    await rig.sync(closed)
    const send = `const socket = require('node:dgram').createSocket('udp4')
      socket.bind(68, async () => {
        for (const hex of process.argv.slice(1)) await new Promise((sent) =>
          socket.send(Buffer.from(hex, 'hex'), 67, '${GATEWAY}', sent))
        socket.close()
      })`
    rig.leasesAsked.length = 0
    const [own, foreign] = [ports[0]!.mac, ports[2]!.mac]
    expect((await rig.guest(1).run([process.execPath, '-e', send, discover(foreign), discover(own)])).code).toBe(0)
    await waitFor(systemClock, 'the second message', 5000, () => rig.leasesAsked.includes(own))
    expect(rig.leasesAsked).not.toContain(foreign)
  })

  const get = async (slot: number) =>
    (await rig.guest(slot).run(['busybox', 'wget', '-q', '-O', '-', 'http://169.254.169.254/latest/'])).stdout

  it('tells the metadata service who asks', async () => {
    await rig.sync(closed)
    expect(await get(1)).toBe('vpc-0a1 10.0.0.11 GET /latest/\n')
    expect(await get(3)).toBe('vpc-0a1 10.0.0.13 GET /latest/\n')
    await rig.network.syncVpc(other)
    expect(await get(4)).toBe('vpc-0b2 10.0.0.14 GET /latest/\n')
    // From outside nobody gets there, whatever the groups say.
    expect((await rig.lab.outside.connects(PUBLIC_1, 80))).toBeUndefined()
  })

  const ask = (slot: number, text: string) => () =>
    rig.guest(slot).run(['busybox', 'timeout', '5', 'busybox', 'nc', '169.254.169.254', '80'], text)

  it('gives the answer to PUT the hop limit of the interface, and no other answer', async () => {
    await rig.sync(closed)
    const headers = 'HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
    expect(await rig.countIn(1, limited(1), ask(1, `PUT /latest/api/token ${headers}`))).toBeGreaterThan(0)
    expect(await rig.countIn(1, limited(1), ask(1, `GET /latest/ ${headers}`))).toBe(0)
    expect(await rig.countIn(1, limited(64), ask(1, `GET /latest/ ${headers}`))).toBeGreaterThan(0)
    expect(await rig.countIn(2, limited(7), ask(2, `PUT /latest/api/token ${headers}`))).toBeGreaterThan(0)
    // Both in one segment.
    const get = 'GET /latest/ HTTP/1.1\r\nHost: x\r\n\r\n'
    const both = await ask(1, `${get}PUT /latest/api/token ${headers}`)()
    expect(both.stdout).not.toContain('PUT /latest')
    // After a GET on the same connection, whole and in pieces; and in pieces from the first byte.
    const put = ['P', `UT /latest/api/token ${headers}`]
    expect(await rig.countIn(1, limited(1), () => inSegments(1, [get, put.join('')]))).toBeGreaterThan(0)
    expect(await rig.countIn(1, limited(1), () => inSegments(1, [get, ...put]))).toBeGreaterThan(0)
    expect(await rig.countIn(1, limited(64), () => inSegments(1, put))).toBe(0)
  })

  /** Sends each part as a segment of its own; the pause between them is what parts them. */
  const inSegments = (slot: number, parts: string[]) => {
    const printed = parts.map((part) => `printf '%b' '${escape(part)}'`).join('; busybox usleep 300000; ')
    return rig.guest(slot).run(['sh', '-c', `(${printed}) | busybox timeout 5 busybox nc 169.254.169.254 80`])
  }
})
