import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { answerMetadata } from './server.ts'
import type { InstanceMetadata, InterfaceMetadata } from './tree.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const SECRET = Buffer.alloc(32, 1)
const TTL = 'x-aws-ec2-metadata-token-ttl-seconds'
const TOKEN = 'x-aws-ec2-metadata-token'
const MAC = '0a:12:34:56:78:9a'

const networkInterface: InterfaceMetadata = {
  interfaceId: 'eni-1', accountId: '123456789012', deviceIndex: 0, mac: MAC, privateIp: '172.31.5.10',
  publicIp: '198.18.0.9', groups: [{ groupId: 'sg-1', name: 'web' }, { groupId: 'sg-2', name: 'ssh' }],
  subnetId: 'subnet-1', subnetCidr: '172.31.0.0/20', vpcId: 'vpc-1', vpcCidr: '172.31.0.0/16',
}

function view(
  change: Partial<InstanceMetadata> = {},
  options: Partial<InstanceMetadata['options']> = {},
): InstanceMetadata {
  return {
    region: 'us-east-1', accountId: '123456789012', instanceId: 'i-1', instanceType: 't3.micro', imageId: 'ami-1',
    reservationId: 'r-1', launchIndex: 0, launchMs: NOW_MS + 123, architecture: 'x86_64', zone: 'us-east-1a',
    options: {
      httpTokens: 'optional', httpPutResponseHopLimit: 1, httpEndpoint: 'enabled', instanceMetadataTags: 'disabled',
      ...options,
    },
    userData: Buffer.from([0x23, 0x21, 0, 0xff]), keyName: 'my-key', publicKey: 'ssh-ed25519 AAAA my-key\n',
    rootDeviceName: '/dev/vda', dataDevices: ['/dev/sdf'], interfaces: [networkInterface],
    tags: [
      { key: 'Name', value: 'first' }, { key: 'a/b', value: 'not part of a path' }, { key: '__proto__', value: 'x' },
    ],
    ...change,
  }
}

interface Asked {
  of?: InstanceMetadata | undefined
  method?: string
  headers?: Record<string, string>
  nowMs?: number
  secret?: Buffer
}

function ask(path: string, asked: Asked = {}) {
  const { method = 'GET', headers = {}, nowMs = NOW_MS, secret = SECRET } = asked
  const answer = answerMetadata('of' in asked ? asked.of : view(), { method, path, headers }, { nowMs, secret })
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
    ['events/maintenance/scheduled', '[]'],
    ['hostname', 'ip-172-31-5-10.ec2.internal'], ['local-hostname', 'ip-172-31-5-10.ec2.internal'],
    ['instance-action', 'none'], ['instance-id', 'i-1'], ['instance-life-cycle', 'on-demand'],
    ['instance-type', 't3.micro'], ['local-ipv4', '172.31.5.10'], ['mac', MAC],
    ['network/', 'interfaces/'], ['network/interfaces/macs/', `${MAC}/`],
    [`network/interfaces/macs/${MAC}/device-number`, '0'], [`network/interfaces/macs/${MAC}/interface-id`, 'eni-1'],
    [`network/interfaces/macs/${MAC}/ipv4-associations/`, '198.18.0.9'],
    [`network/interfaces/macs/${MAC}/ipv4-associations/198.18.0.9`, '172.31.5.10'],
    [`network/interfaces/macs/${MAC}/owner-id`, '123456789012'],
    [`network/interfaces/macs/${MAC}/security-groups`, 'web\nssh'],
    [`network/interfaces/macs/${MAC}/security-group-ids`, 'sg-1\nsg-2'],
    [`network/interfaces/macs/${MAC}/subnet-ipv4-cidr-block`, '172.31.0.0/20'],
    [`network/interfaces/macs/${MAC}/vpc-ipv4-cidr-blocks`, '172.31.0.0/16'],
    ['placement/', 'availability-zone\navailability-zone-id\nregion'], ['placement/availability-zone', 'us-east-1a'],
    ['placement/availability-zone-id', 'use1-az1'], ['placement/region', 'us-east-1'], ['profile', 'default-hvm'],
    ['public-hostname', 'ec2-198-18-0-9.compute-1.amazonaws.com'], ['public-ipv4', '198.18.0.9'],
    ['public-keys/0/', 'openssh-key'], ['public-keys/0/openssh-key', 'ssh-ed25519 AAAA my-key'],
    ['reservation-id', 'r-1'], ['security-groups', 'web\nssh'], ['services/domain', 'amazonaws.com'],
    ['services/partition', 'aws'], ['system', 'nitro'],
  ])('tells %s', (path, value) => {
    expect(meta(path)).toMatchObject({ status: 200, headers: { 'content-type': 'text/plain' }, text: value })
  })

  it('lists a directory with a slash after each sub-directory and no newline at the end', () => {
    const { text } = meta('')
    expect(text.split('\n')).toEqual([
      'ami-id', 'ami-launch-index', 'ami-manifest-path', 'block-device-mapping/', 'events/', 'hostname',
      'instance-action', 'instance-id', 'instance-life-cycle', 'instance-type', 'local-hostname', 'local-ipv4', 'mac',
      'network/', 'placement/', 'profile', 'public-hostname', 'public-ipv4', 'public-keys/', 'reservation-id',
      'security-groups', 'services/', 'system',
    ])
  })

  it('lists the versions at the root, and holds the same in each', () => {
    const versions = ask('/').text.split('\n')
    expect(versions[0]).toBe('1.0')
    expect(versions.at(-1)).toBe('latest')
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

  it('takes a directory with and without its slash', () => {
    for (const path of ['/latest/meta-data', '/latest/dynamic/instance-identity', '/latest']) {
      expect(ask(path)).toEqual(ask(`${path}/`))
      expect(ask(path).status).toBe(200)
    }
  })

  it('gives user-data byte for byte, and 404 when there is none', () => {
    expect(ask('/latest/user-data').text).toBe('#!\0\xff')
    const without = view({ userData: null })
    expect(ask('/latest/user-data', { of: without }).status).toBe(404)
    expect(ask('/latest/', { of: without }).text).toBe('dynamic\nmeta-data')
  })

  it('writes the identity document as AWS does, without a signature that it cannot make', () => {
    const { text } = ask('/latest/dynamic/instance-identity/document')
    expect(text).toContain('\n  "accountId" : "123456789012",\n')
    expect(JSON.parse(text)).toMatchObject({
      instanceId: 'i-1', pendingTime: '2026-01-01T00:00:00Z', privateIp: '172.31.5.10', version: '2017-09-30',
    })
    for (const name of ['signature', 'pkcs7', 'rsa2048']) {
      expect(ask(`/latest/dynamic/instance-identity/${name}`).status).toBe(404)
    }
  })

  it('shows tags only where they were allowed, and only those that fit into a path', () => {
    expect(meta('tags/instance/').status).toBe(404)
    const allowed = view({}, { instanceMetadataTags: 'enabled' })
    expect(meta('', allowed).text).toContain('\ntags/')
    expect(meta('tags/instance/', allowed).text).toBe('Name\n__proto__')
    expect(meta('tags/instance/Name', allowed).text).toBe('first')
  })

  it.each(['constructor', '__proto__', 'instance-id/more', 'spot/instance-action', 'iam/info', '/', '../user-data'])(
    'answers 404 for %s, with a page as EC2 writes it', (path) => {
      const answer = meta(path)
      expect(answer).toMatchObject({ status: 404, headers: { 'content-type': 'text/html' } })
      expect(answer.text).toMatch(/^<\?xml [^]*<title>404 - Not Found<\/title>/)
    })

  it('answers 404 to an address that nobody has', () => {
    expect(ask('/latest/meta-data/', { of: undefined }).status).toBe(404)
  })

  it('refuses every request where the endpoint is switched off', () => {
    const off = view({}, { httpEndpoint: 'disabled' })
    expect(ask('/', { of: off }).status).toBe(403)
    expect(ask('/latest/api/token', { of: off, method: 'PUT', headers: { [TTL]: '60' } }).status).toBe(403)
  })

  it.each(['POST', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'])('refuses %s', (method) => {
    expect(ask('/latest/meta-data/', { method }).status).toBe(405)
  })

  it('refuses to GET a token, and to PUT anything else', () => {
    expect(ask('/latest/api/token').status).toBe(405)
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
