import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { howToCall, isHome, mayBeHome, shellWord } from './command.ts'
import { knowsEndpointVariable } from './doctor-checks.ts'
import { formatChecks } from './doctor.ts'
import { formatEnvironment } from './env.ts'
import { reconcileEngines } from './home-engine.ts'
import { splitContent } from './reset.ts'
import { sshArguments } from './ssh-command.ts'
import { endpointOf, lockHome } from './up-record.ts'
import { textOf, textsOf } from './xml.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-cli-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('words for a shell', () => {
  it('quotes what a shell would take apart, and nothing else', () => {
    expect(shellWord('/srv/hearth-1')).toBe('/srv/hearth-1')
    expect(shellWord("it's here")).toBe(String.raw`'it'\''s here'`)
    expect(shellWord('')).toBe("''")
  })

  it('calls hearth as it can be called from where one is', () => {
    expect(howToCall('/src/hearth/bin/hearth', '/src/hearth', '/usr/bin')).toBe('bin/hearth')
    expect(howToCall('/src/hearth/bin/hearth', '/home/me', '/usr/bin')).toBe('/src/hearth/bin/hearth')
    expect(howToCall('/src/hearth/bin/hearth', '/home/me', '/usr/bin:/src/hearth/bin')).toBe('hearth')
  })

  it('gives the environment on one line', () => {
    expect(formatEnvironment({ A: 'http://127.0.0.1:1', B: 'x+/=' })).toBe('export A=http://127.0.0.1:1 B=x+/=')
  })
})

describe('where clients reach the API', () => {
  it.each([
    ['127.0.0.1', 'http://127.0.0.1:8773'], ['0.0.0.0', 'http://127.0.0.1:8773'], ['::', 'http://[::1]:8773'],
    ['10.1.2.3', 'http://10.1.2.3:8773'], ['localhost', 'http://localhost:8773'],
  ])('listening on %s: %s', (host, endpoint) => expect(endpointOf({ host, port: 8773 })).toBe(endpoint))
})

describe('a home', () => {
  it('may be an empty folder or one that Hearth made, never one with other things', () => {
    expect(mayBeHome(path.join(folder, 'absent'))).toBe(true)
    expect(mayBeHome(folder)).toBe(true)
    writeFileSync(path.join(folder, 'probe.json'), '')
    expect(mayBeHome(folder)).toBe(true)
    mkdirSync(path.join(folder, 'images'))
    expect(mayBeHome(folder)).toBe(false)
    mkdirSync(path.join(folder, 'instances'))
    expect(mayBeHome(folder)).toBe(true)
    writeFileSync(path.join(folder, 'thesis.txt'), '')
    expect(mayBeHome(folder)).toBe(false)
    for (const name of ['volumes', 'keys', 'run']) mkdirSync(path.join(folder, name))
    expect(isHome(folder)).toBe(true)
    expect(mayBeHome(folder)).toBe(true)
  })

  it('loses only what Hearth put there', () => {
    expect(splitContent(['instances', 'hearth.db', 'hearth.db-wal', 'credentials.json', 'thesis.txt', 'my-keys'])).toEqual({
      deleted: ['instances', 'hearth.db', 'hearth.db-wal', 'credentials.json'], left: ['thesis.txt', 'my-keys'],
    })
  })

  it('has one supervisor at a time', () => {
    mkdirSync(path.join(folder, 'run'))
    const unlock = lockHome(folder)
    expect(unlock).toBeTypeOf('function')
    expect(lockHome(folder)).toBeUndefined()
    unlock?.()
    const again = lockHome(folder)
    expect(again).toBeTypeOf('function')
    again?.()
  })

  it('keeps its engine while it has instances', () => {
    const home = '/h'
    expect(reconcileEngines({ home, engine: 'auto' }, { engine: 'sim', count: 1 })).toBe('sim')
    expect(reconcileEngines({ home, engine: 'auto' }, { engine: 'sim', count: 0 })).toBe('auto')
    expect(reconcileEngines({ home, engine: 'qemu' }, { engine: undefined, count: 0 })).toBe('qemu')
    expect(() => reconcileEngines({ home, engine: 'sim' }, { engine: 'qemu', count: 2 })).toThrow(/2 instances of the engine qemu/)
  })
})

describe('ssh', () => {
  const instance = {
    instanceId: 'i-00000000000000001', name: null, state: 'running' as const, zone: 'us-east-1a', pausedBecause: null, isHibernated: false, reason: null,
    type: 't3.micro', granted: null,
    privateIp: '172.31.0.4', publicIp: '198.18.0.1', launchMs: 0, keyName: null, sshUser: 'admin',
  }

  it('knows hosts by instance id and passes the command after --', () => {
    const words = sshArguments('/h', instance, { key: '/k', command: ['ls', '-l'] })
    expect(words.slice(0, 4)).toEqual(['-i', '/k', '-o', 'IdentitiesOnly=yes'])
    expect(words).toContain('HostKeyAlias=i-00000000000000001')
    expect(words).toContain('UserKnownHostsFile="/h/run/known_hosts"')
    expect(words.slice(-4)).toEqual(['admin@198.18.0.1', '--', 'ls', '-l'])
  })

  it('leaves keys to ssh where the instance has none of ours, and says why there is no way in', () => {
    expect(sshArguments('/h', instance, {})).not.toContain('-i')
    expect(() => sshArguments('/h', { ...instance, state: 'stopped' }, {})).toThrow(/is stopped/)
    expect(() => sshArguments('/h', { ...instance, publicIp: null }, {})).toThrow(/no public address/)
    expect(() => sshArguments('/h', { ...instance, sshUser: null }, {})).toThrow(/--user/)
    expect(sshArguments('/h', { ...instance, sshUser: null }, { user: 'me' }).at(-1)).toBe('me@198.18.0.1')
  })
})

describe('doctor', () => {
  it('knows which AWS CLI heeds AWS_ENDPOINT_URL', () => {
    expect(['2.9.19', '2.13.0', '2.31.5', '1.27.1', '1.45.11', '3.0.0'].map(knowsEndpointVariable))
      .toEqual([false, true, true, false, true, true])
  })

  it('gives remedies below what they are for, and a verdict', () => {
    const lines = formatChecks([
      { name: 'Node', status: 'ok', detail: '20' }, { name: 'nft', status: 'missing', detail: 'not installed', remedy: 'install it' },
    ]).split('\n')
    expect(lines[1]).toMatch(/^MISSING +nft +not installed$/)
    expect(lines[2]?.trim()).toBe('-> install it')
    expect(lines.at(-1)).toContain('cannot run here')
  })
})

describe('answers of the API', () => {
  it('are read by element, in order, with entities decoded', () => {
    const xml = '<r><item><a>1</a></item><item><a>x &lt;&amp;&#10;&#x41;&quot;</a></item></r>'
    expect(textsOf(xml, 'a')).toEqual(['1', 'x <&\nA"'])
    expect(textOf(xml, 'b')).toBeUndefined()
  })
})
