import { describe, expect, it } from 'vitest'
import { sourceLines } from './apt-sources.ts'

const target = (change: Partial<Record<'origin' | 'codename' | 'release' | 'component' | 'architecture' | 'createdBy' | 'uri', string>> = {}) => {
  const codename = change.codename ?? 'bookworm'
  const all = {
    origin: 'Debian', codename, release: codename, component: 'main', architecture: 'amd64', createdBy: 'Packages',
    uri: 'http://mirror.example/debian/', ...change,
  }
  return [all.origin, all.codename, all.release, all.component, all.architecture, all.createdBy, all.uri].join('\t')
}
const linesOf = (...targets: string[]) => sourceLines('bookworm', `${targets.join('\n')}\n`)

describe('the sources of a Debian release', () => {
  it('are those of the host for the release and its updates, each once', () => {
    const security = target({ codename: 'bookworm-security', uri: 'https://mirror.example/debian-security/' })
    const translations = target({ createdBy: 'Translations' })
    expect(linesOf(target(), target(), translations, target({ component: 'contrib' }), security)).toEqual([
      'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian/ bookworm main',
      'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://mirror.example/debian-security/ bookworm-security main',
    ])
    expect(linesOf(target({ release: 'oldstable' }))).toEqual([expect.stringContaining('/debian/ oldstable main')])
  })

  it.each([
    ['of another maker', { origin: 'Somebody' }], ['of another release', { codename: 'trixie' }],
    ['of a like name', { codename: 'bookwormish' }], ['of another machine', { architecture: 'arm64' }],
    ['with a password', { uri: 'https://me:secret@mirror.example/debian/' }], ['of this host only', { uri: 'file:/srv/debian/' }],
  ])('are none %s', (_, change) => {
    expect(linesOf(target(change))).toEqual([])
  })

  it('are none where the host has the updates alone', () => {
    expect(linesOf(target({ codename: 'bookworm-security' }))).toEqual([])
    expect(sourceLines('bookworm', '')).toEqual([])
  })
})
