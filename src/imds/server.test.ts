import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { answerMetadata } from './server.ts'
import type { InstanceMetadata, InterfaceMetadata } from './tree.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const SECRET = Buffer.alloc(32, 1)
const TTL = 'x-aws-ec2-metadata-token-ttl-seconds'
const TOKEN = 'x-aws-ec2-metadata-token'
const MAC = '0a:12:34:56:78:9a'
const SIGNATURES = { signature: 'c2ln', pkcs7: 'cGtjcw==\ncHM=' }

const networkInterface: InterfaceMetadata = {
  interfaceId: 'eni-1', accountId: '123456789012', deviceIndex: 0, mac: MAC, privateIp: '172.31.5.10',
  publicIp: '198.18.0.9', groups: [{ groupId: 'sg-1', name: 'web' }, { groupId: 'sg-2', name: 'ssh' }],
  subnetId: 'subnet-1', subnetCidr: '172.31.0.0/20', vpcId: 'vpc-1', vpcCidrs: ['172.31.0.0/16'],
  secondary: [], hasPublicNames: true,
}

function view(
  change: Partial<InstanceMetadata> = {},
  options: Partial<InstanceMetadata['options']> = {},
): InstanceMetadata {
  return {
    region: 'us-east-1', accountId: '123456789012', instanceId: 'i-1', instanceType: 't3.micro', imageId: 'ami-1',
    reservationId: 'r-1', launchIndex: 0, launchMs: NOW_MS + 123, architecture: 'x86_64', zone: 'us-east-1a',
    placementGroup: null, partitionNumber: null, dedicatedHostId: null,
    options: {
      httpTokens: 'optional', httpPutResponseHopLimit: 1, httpEndpoint: 'enabled', instanceMetadataTags: 'disabled',
      ...options,
    },
    monitoring: 'disabled',
    hibernation: false,
    userData: Buffer.from([0x23, 0x21, 0, 0xff]), keyName: 'my-key', publicKey: 'ssh-ed25519 AAAA my-key\n',
    rootDeviceName: '/dev/vda', hostDomain: 'ec2.internal', dataDevices: ['/dev/sdf'], interfaces: [networkInterface],
    tags: [
      { key: 'Name', value: 'first' }, { key: 'a/b', value: 'not part of a path' }, { key: '__proto__', value: 'x' },
    ],
    events: [], spot: null,
    ...change,
  }
}

interface Asked {
  of?: InstanceMetadata
  method?: string
  headers?: Record<string, string>
  nowMs?: number
  secret?: Buffer
}

function ask(path: string, asked: Asked = {}) {
  const { of = view(), method = 'GET', headers = {}, nowMs = NOW_MS, secret = SECRET } = asked
  const answer = answerMetadata(of, { method, path, headers }, { nowMs, secret, signatures: SIGNATURES })
  return { status: answer.status, headers: answer.headers, text: answer.body.toString('latin1') }
}

const newToken = (of = view(), seconds = '60') =>
  ask('/latest/api/token', { of, method: 'PUT', headers: { [TTL]: seconds } }).text
const meta = (path: string, of = view()) => ask(`/latest/meta-data/${path}`, { of })

describe('the metadata service', () => {
  it.each([
    ['ami-id', 'ami-1'], ['ami-launch-index', '0'], ['ami-manifest-path', '(unknown)'],
    ['block-device-mapping/', 'ami\nebs1\nroot'], ['block-device-mapping/ami', '/dev/vda'],
    ['block-device-mapping/ebs1', 'sdf'], ['block-device-mapping/root', '/dev/vda'],
    ['events/', 'maintenance/'], ['events/maintenance/', 'history\nscheduled'],
    ['events/maintenance/history', '[]'], ['events/maintenance/scheduled', '[]'],
    ['hibernation/', 'configured'], ['hibernation/configured', 'false'],
    ['hostname', 'ip-172-31-5-10.ec2.internal'], ['local-hostname', 'ip-172-31-5-10.ec2.internal'],
    ['instance-action', 'none'], ['instance-id', 'i-1'], ['instance-life-cycle', 'on-demand'],
    ['instance-type', 't3.micro'], ['local-ipv4', '172.31.5.10'], ['mac', MAC],
    ['network/', 'interfaces/'], ['network/interfaces/', 'macs/'], ['network/interfaces/macs/', `${MAC}/`],
    [`network/interfaces/macs/${MAC}/device-number`, '0'], [`network/interfaces/macs/${MAC}/interface-id`, 'eni-1'],
    [`network/interfaces/macs/${MAC}/ipv4-associations/`, '198.18.0.9'],
    [`network/interfaces/macs/${MAC}/ipv4-associations/198.18.0.9`, '172.31.5.10'],
    [`network/interfaces/macs/${MAC}/local-hostname`, 'ip-172-31-5-10.ec2.internal'],
    [`network/interfaces/macs/${MAC}/local-ipv4s`, '172.31.5.10'], [`network/interfaces/macs/${MAC}/mac`, MAC],
    [`network/interfaces/macs/${MAC}/network-card-index`, '0'],
    [`network/interfaces/macs/${MAC}/owner-id`, '123456789012'],
    [`network/interfaces/macs/${MAC}/public-hostname`, 'ec2-198-18-0-9.compute-1.amazonaws.com'],
    [`network/interfaces/macs/${MAC}/public-ipv4s`, '198.18.0.9'],
    [`network/interfaces/macs/${MAC}/security-groups`, 'web\nssh'],
    [`network/interfaces/macs/${MAC}/security-group-ids`, 'sg-1\nsg-2'],
    [`network/interfaces/macs/${MAC}/subnet-id`, 'subnet-1'],
    [`network/interfaces/macs/${MAC}/subnet-ipv4-cidr-block`, '172.31.0.0/20'],
    [`network/interfaces/macs/${MAC}/vpc-id`, 'vpc-1'],
    [`network/interfaces/macs/${MAC}/vpc-ipv4-cidr-block`, '172.31.0.0/16'],
    [`network/interfaces/macs/${MAC}/vpc-ipv4-cidr-blocks`, '172.31.0.0/16'],
    ['placement/', 'availability-zone\navailability-zone-id\nregion'], ['placement/availability-zone', 'us-east-1a'],
    ['placement/availability-zone-id', 'use1-az1'], ['placement/region', 'us-east-1'], ['profile', 'default-hvm'],
    ['public-hostname', 'ec2-198-18-0-9.compute-1.amazonaws.com'], ['public-ipv4', '198.18.0.9'],
    ['public-keys/0', 'openssh-key'], ['public-keys/0/', 'openssh-key'],
    ['public-keys/0/openssh-key', 'ssh-ed25519 AAAA my-key'], ['public-keys/0/openssh-key/', 'ssh-ed25519 AAAA my-key'],
    ['reservation-id', 'r-1'], ['security-groups', 'web\nssh'], ['services/', 'domain\npartition'],
    ['services/domain', 'amazonaws.com'],
    ['services/partition', 'aws'], ['system', 'nitro'],
  ])('tells %s', (path, value) => {
    const headers = { 'content-type': 'text/plain', 'accept-ranges': 'none', server: 'EC2ws' }
    expect(meta(path)).toMatchObject({ status: 200, headers, text: value })
  })

  it('lists a directory with a slash after each sub-directory and no newline at the end', () => {
    const { text } = meta('')
    expect(text.split('\n')).toEqual([
      'ami-id', 'ami-launch-index', 'ami-manifest-path', 'block-device-mapping/', 'events/', 'hibernation/', 'hostname',
      'instance-action', 'instance-id', 'instance-life-cycle', 'instance-type', 'local-hostname', 'local-ipv4', 'mac',
      'network/', 'placement/', 'profile', 'public-hostname', 'public-ipv4', 'public-keys/', 'reservation-id',
      'security-groups', 'services/', 'system',
    ])
  })

  it('lists the versions at the root, and holds the same in each', () => {
    const versions = ask('/').text.split('\n')
    expect(versions[0]).toBe('1.0')
    expect(versions.slice(-5)).toEqual(['2021-03-23', '2021-07-15', '2022-09-24', '2024-04-11', 'latest'])
    for (const version of versions) {
      expect(ask(`/${version}/`).text).toBe('dynamic\nmeta-data\nuser-data')
      expect(ask(`/${version}/meta-data/instance-id`).text).toBe('i-1')
    }
    expect(ask('/2020-02-30/').status).toBe(404)
  })

  it('lists keys by number and name, as cloud-init expects', () => {
    expect(meta('public-keys/').text).toBe('0=my-key')
    expect(meta('public-keys').text).toBe('0=my-key')
  })

  it('has no keys for an instance that was launched without one', () => {
    expect(meta('public-keys/', view({ keyName: null, publicKey: null })).status).toBe(404)
  })

  it('has no public names for an instance without a public address', () => {
    const hidden = view({ interfaces: [{ ...networkInterface, publicIp: null }] })
    for (const path of ['public-ipv4', 'public-hostname', `network/interfaces/macs/${MAC}/public-ipv4s`]) {
      expect(meta(path, hidden).status).toBe(404)
    }
  })

  it('has no public names in a VPC that gives none, but the address', () => {
    const nameless = view({ interfaces: [{ ...networkInterface, hasPublicNames: false }] })
    for (const path of ['public-hostname', `network/interfaces/macs/${MAC}/public-hostname`]) {
      expect(meta(path, nameless).status).toBe(404)
    }
    expect(meta('public-ipv4', nameless).text).toBe('198.18.0.9')
    expect(meta(`network/interfaces/macs/${MAC}/public-ipv4s`, nameless).text).toBe('198.18.0.9')
  })

  it("names the guest in the domain of the VPC's DHCP options", () => {
    const own = view({ hostDomain: 'example.com' })
    expect(meta('hostname', own).text).toBe('ip-172-31-5-10.example.com')
    expect(meta('local-hostname', own).text).toBe('ip-172-31-5-10.example.com')
    expect(meta(`network/interfaces/macs/${MAC}/local-hostname`, own).text).toBe('ip-172-31-5-10.example.com')
    expect(meta('public-hostname', own).text).toBe('ec2-198-18-0-9.compute-1.amazonaws.com')
  })

  it('has every address of an interface, and which public one stands for which private one', () => {
    const secondary = [{ privateIp: '172.31.5.20', publicIp: null }, { privateIp: '172.31.5.21', publicIp: '198.18.0.21' }]
    const of = view({ interfaces: [{ ...networkInterface, secondary, vpcCidrs: ['172.31.0.0/16', '10.9.0.0/16'] }] })
    const tell = (name: string) => meta(`network/interfaces/macs/${MAC}/${name}`, of).text
    expect(tell('local-ipv4s')).toBe('172.31.5.10\n172.31.5.20\n172.31.5.21')
    expect(tell('public-ipv4s')).toBe('198.18.0.9\n198.18.0.21')
    expect(tell('ipv4-associations/')).toBe('198.18.0.9\n198.18.0.21')
    expect(tell('ipv4-associations/198.18.0.21')).toBe('172.31.5.21')
    expect(tell('vpc-ipv4-cidr-block')).toBe('172.31.0.0/16')
    expect(tell('vpc-ipv4-cidr-blocks')).toBe('172.31.0.0/16\n10.9.0.0/16')
    expect(meta('local-ipv4', of).text).toBe('172.31.5.10')
  })

  it('takes a directory with and without its slash, and several slashes for one', () => {
    for (const path of ['/latest/meta-data', '/latest/dynamic/instance-identity', '/latest', '/2009-04-04']) {
      expect(ask(path)).toEqual(ask(`${path}/`))
      expect(ask(path)).toEqual(ask(`/${path.replaceAll('/', '//')}//`))
      expect(ask(path).status).toBe(200)
    }
    expect(ask('//')).toEqual(ask('/'))
    expect(ask('/latest/meta-data//instance-id').text).toBe('i-1')
    expect(ask('/latest/meta-data/placement%2Fregion').status).toBe(404)
  })

  it('gives user-data byte for byte, and 404 when there is none', () => {
    expect(ask('/latest/user-data')).toMatchObject({
      text: '#!\0\xff',
      headers: { 'content-type': 'application/octet-stream', 'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT' },
    })
    const without = view({ userData: null })
    expect(ask('/latest/user-data', { of: without }).status).toBe(404)
    expect(ask('/latest/', { of: without }).text).toBe('dynamic\nmeta-data')
  })

  it('writes the identity document as AWS does, with its signatures beside it', () => {
    const identity = (name: string) => ask(`/latest/dynamic/instance-identity/${name}`)
    expect(identity('').text).toBe('document\npkcs7\nrsa2048\nsignature')
    const { text, headers } = identity('document')
    expect(headers).toMatchObject({ 'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT' })
    expect(text).toContain('\n  "accountId" : "123456789012",\n')
    expect(JSON.parse(text)).toEqual({
      accountId: '123456789012', architecture: 'x86_64', availabilityZone: 'us-east-1a', billingProducts: null,
      devpayProductCodes: null, marketplaceProductCodes: null, imageId: 'ami-1', instanceId: 'i-1',
      instanceType: 't3.micro', kernelId: null, pendingTime: '2026-01-01T00:00:00Z', privateIp: '172.31.5.10',
      ramdiskId: null, region: 'us-east-1', version: '2017-09-30',
    })
    expect(identity('signature').text).toBe(SIGNATURES.signature)
    expect(identity('pkcs7').text).toBe(SIGNATURES.pkcs7)
    expect(identity('rsa2048').text).toBe(SIGNATURES.pkcs7)
    expect(identity('dsa2048').status).toBe(404)
  })

  it('tells whether the instance is monitored', () => {
    const monitoring = (of: InstanceMetadata) => ask('/latest/dynamic/fws/instance-monitoring', { of }).text
    expect(ask('/latest/dynamic/').text).toBe('fws/\ninstance-identity/')
    expect(monitoring(view())).toBe('disabled')
    expect(monitoring(view({ monitoring: 'enabled' }))).toBe('enabled')
  })

  it('tells whether the instance can be hibernated', () => {
    expect(meta('hibernation/configured', view({ hibernation: true })).text).toBe('true')
  })

  it('tells the placement group, the partition and the dedicated host of an instance that has them', () => {
    const placed = view({ placementGroup: 'racks', partitionNumber: 3, dedicatedHostId: 'h-1' })
    expect(meta('placement/', placed).text.split('\n')).toEqual(
      ['availability-zone', 'availability-zone-id', 'group-name', 'host-id', 'partition-number', 'region'])
    expect(['group-name', 'host-id', 'partition-number'].map((each) => meta(`placement/${each}`, placed).text)).toEqual(['racks', 'h-1', '3'])
  })

  it('has every interface and every volume', () => {
    const second = { ...networkInterface, interfaceId: 'eni-2', deviceIndex: 1, mac: '0a:0', privateIp: '172.31.5.11' }
    const large = view({
      interfaces: [networkInterface, { ...second, publicIp: null }], dataDevices: ['/dev/sdf', '/dev/xvdg', 'sdh'],
    })
    expect(meta('network/interfaces/macs/', large).text).toBe(`${MAC}/\n0a:0/`)
    expect(meta('network/interfaces/macs/0a:0/', large).text.split('\n')).toEqual([
      'device-number', 'interface-id', 'local-hostname', 'local-ipv4s', 'mac', 'network-card-index', 'owner-id',
      'security-group-ids', 'security-groups', 'subnet-id', 'subnet-ipv4-cidr-block', 'vpc-id', 'vpc-ipv4-cidr-block',
      'vpc-ipv4-cidr-blocks',
    ])
    expect(meta('network/interfaces/macs/0a:0/device-number', large).text).toBe('1')
    expect(meta('local-ipv4', large).text).toBe('172.31.5.10')
    expect(meta('block-device-mapping/', large).text).toBe('ami\nebs1\nebs2\nebs3\nroot')
    expect(['ebs1', 'ebs2', 'ebs3'].map((name) => meta(`block-device-mapping/${name}`, large).text))
      .toEqual(['sdf', 'xvdg', 'sdh'])
  })

  it('shows tags only where they were allowed, and only those that fit into a path', () => {
    expect(meta('tags/instance/').status).toBe(404)
    const allowed = view({}, { instanceMetadataTags: 'enabled' })
    expect(meta('', allowed).text).toContain('\ntags/')
    expect(meta('tags/instance/', allowed).text).toBe('Name\n__proto__')
    expect(meta('tags/instance/Name', allowed).text).toBe('first')
    expect(meta('tags/instance/a/b', allowed).status).toBe(404)
    expect(meta('tags/instance/a%2Fb', allowed).status).toBe(404)
    expect(meta('tags/', view({ tags: [] }, { instanceMetadataTags: 'enabled' })).status).toBe(404)
  })

  it('lists what is planned, and what was, as JSON with times as EC2 writes them', () => {
    const event = {
      eventId: 'instance-event-1', code: 'system-reboot', description: 'scheduled reboot', state: 'scheduled',
      notBeforeMs: Date.UTC(2019, 0, 21, 9, 0, 43), notAfterMs: Date.UTC(2019, 1, 1, 9, 17, 23),
    } as const
    const over = { ...event, eventId: 'instance-event-2', description: '[Canceled] scheduled reboot', state: 'canceled', notAfterMs: null } as const
    const of = view({ events: [event, over] })
    expect(meta('events/maintenance/scheduled', of).text).toBe([
      '[', '  {', '    "NotBefore": "21 Jan 2019 09:00:43 GMT",', '    "Code": "system-reboot",',
      '    "Description": "scheduled reboot",', '    "EventId": "instance-event-1",',
      '    "NotAfter": "1 Feb 2019 09:17:23 GMT",', '    "State": "active"', '  }', ']',
    ].join('\n'))
    expect(JSON.parse(meta('events/maintenance/history', of).text)).toEqual([{
      NotBefore: '21 Jan 2019 09:00:43 GMT', Code: 'system-reboot', Description: '[Canceled] scheduled reboot',
      EventId: 'instance-event-2', State: 'canceled',
    }])
  })

  it.each([
    'constructor', '__proto__', 'instance-id/more', '../user-data', 'autoscaling/target-lifecycle-state',
    'ancestor-ami-ids', 'events/recommendations/rebalance', 'iam/info', 'iam/security-credentials/',
    'identity-credentials/ec2/info', 'identity-credentials/ec2/security-credentials/ec2-instance', 'ipv6', 'kernel-id',
    'managed-ssh-keys/signer-cert', `network/interfaces/macs/${MAC}/ipv6s`, 'placement/group-name', 'placement/host-id',
    'placement/partition-number', 'product-codes', 'ramdisk-id', 'spot/instance-action', 'spot/termination-time',
    'block-device-mapping/ephemeral0', 'block-device-mapping/swap', 'public-keys/1/openssh-key',
  ])('answers 404 for %s, with a page as EC2 writes it', (path) => {
    const answer = meta(path)
    expect(answer).toMatchObject({ status: 404, headers: { 'content-type': 'text/html', server: 'EC2ws' } })
    expect(answer.text).toMatch(/^<\?xml [^]*<title>404 - Not Found<\/title>/)
  })

  it('refuses every request where the endpoint is switched off', () => {
    const off = view({}, { httpEndpoint: 'disabled' })
    expect(ask('/', { of: off }).status).toBe(403)
    expect(ask('/latest/api/token', { of: off, method: 'PUT', headers: { [TTL]: '60' } }).status).toBe(403)
  })

  it.each(['POST', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'])('refuses %s', (method) => {
    expect(ask('/latest/meta-data/', { method })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' }, text: '' })
  })

  it('refuses to GET a token, and to PUT anything else', () => {
    expect(ask('/latest/api/token')).toMatchObject({ status: 405, headers: { allow: 'OPTIONS, PUT' }, text: '' })
    expect(ask('/latest/user-data', { method: 'PUT', headers: { [TTL]: '60' } }).status).toBe(405)
  })
})

describe('a session token', () => {
  const required = view({}, { httpTokens: 'required' })
  const get = (token: string | undefined, asked: Asked = {}) =>
    ask('/latest/meta-data/instance-id', {
      of: required, headers: token === undefined ? {} : { [TOKEN]: token }, ...asked,
    }).status

  it.each(['1', '60', '21600'])('is issued for %s seconds, which the answer repeats', (seconds) => {
    const answer = ask('/latest/api/token', { method: 'PUT', headers: { [TTL]: seconds } })
    expect(answer).toMatchObject({ status: 200, headers: { [TTL]: seconds } })
    expect(get(answer.text, { nowMs: NOW_MS + Number(seconds) * 1000 - 1 })).toBe(200)
    expect(get(answer.text, { nowMs: NOW_MS + Number(seconds) * 1000 })).toBe(401)
  })

  it('comes back with the seconds that it has left', () => {
    const headers = { [TOKEN]: newToken() }
    const left = (nowMs: number) => ask('/latest/user-data', { headers, nowMs }).headers[TTL]
    expect([left(NOW_MS), left(NOW_MS + 1), left(NOW_MS + 59_999)]).toEqual(['60', '60', '1'])
  })

  const badTtls = [undefined, '', '0', '21601', '-1', '1.5', '1e3', 'soon', '99999999999']
  it.each(badTtls)('is not issued for a TTL of %s', (ttl) => {
    const headers: Record<string, string> = ttl === undefined ? {} : { [TTL]: ttl }
    expect(ask('/latest/api/token', { method: 'PUT', headers }).status).toBe(400)
  })

  it('is not issued through a proxy, nor below a dated version', () => {
    const headers = { [TTL]: '60', 'x-forwarded-for': '10.0.0.1' }
    expect(ask('/latest/api/token', { method: 'PUT', headers }).status).toBe(403)
    expect(ask('/2021-03-23/api/token', { method: 'PUT', headers: { [TTL]: '60' } }).status).toBe(403)
  })

  it('must be there where tokens are required', () => {
    expect(get(undefined)).toBe(401)
    expect(get(newToken(required))).toBe(200)
    expect(get(newToken(required), { method: 'HEAD' })).toBe(200)
  })

  it('need not be there where tokens are optional, but a wrong one is refused', () => {
    expect(get(undefined, { of: view() })).toBe(200)
    expect(get('wrong', { of: view() })).toBe(401)
    expect(get('', { of: view() })).toBe(401)
  })

  it('is of one instance and one secret', () => {
    expect(get(newToken(view({ instanceId: 'i-2' })))).toBe(401)
    expect(get(newToken(), { secret: Buffer.alloc(32, 2) })).toBe(401)
  })

  it('is refused once any byte of it is changed', () => {
    const bytes = Buffer.from(newToken(), 'base64')
    fc.assert(fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ flip, at)
      expect(get(changed.toString('base64'))).toBe(401)
    }))
    for (const other of [`${newToken()} `, `${newToken()}=`, newToken().slice(0, -1), `-${newToken()}`]) {
      expect(get(other)).toBe(401)
    }
  })
})

describe('junk', () => {
  it('gets an answer below 500, whatever the path', () => {
    const path = fc.oneof(
      fc.string(), fc.webPath(), fc.constantFrom('/%', '//', '/latest//', 'http://', '*', '/latest/%ff'))
    fc.assert(fc.property(path, fc.constantFrom('GET', 'PUT', 'HEAD', ''), (target, method) => {
      expect(ask(target, { method }).status).toBeLessThan(500)
    }))
  })

  it('does not hide a request that names the host as proxies do', () => {
    expect(ask('http://169.254.169.254/latest/meta-data/instance-id?x=1').text).toBe('i-1')
  })
})
