import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ApiError } from '../core/errors.ts'
import { generateSshKey } from '../core/ssh-key.ts'
import { ensureHome } from '../home.ts'
import type { ApiClient } from './api-client.ts'
import { ensureOwnKey, ownKey } from './first-instance.ts'

let home: string

beforeEach(async () => {
  home = mkdtempSync(`${tmpdir()}/hearth-first-`)
  await ensureHome(home)
})

afterEach(() => rmSync(home, { recursive: true, force: true }))

/** An API that knows key pairs alone, and which operations were called. */
function keyPairApi(): ApiClient & { calls: string[] } {
  const pairs = new Map<string, string>()
  const calls: string[] = []
  return {
    calls,
    async call(action, parameters = {}) {
      calls.push(action)
      const name = parameters['KeyName.1'] ?? parameters.KeyName ?? ''
      if (action === 'CreateKeyPair') {
        const key = await generateSshKey('rsa', 'pem', name)
        pairs.set(name, key.publicKey)
        return `<keyMaterial>${key.privateKey}</keyMaterial>`
      }
      if (action === 'DeleteKeyPair') pairs.delete(name)
      const publicKey = pairs.get(name)
      if (action === 'DescribeKeyPairs' && publicKey === undefined) {
        throw new ApiError('InvalidKeyPair.NotFound', `The key pair '${name}' does not exist`)
      }
      return `<publicKey>${publicKey ?? ''} comment</publicKey>`
    },
  }
}

describe("the home's own key pair", () => {
  it('is made once, its private half readable by its owner alone', async () => {
    const api = keyPairApi()
    await ensureOwnKey({ api, home })
    const { file } = ownKey(home)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const material = readFileSync(file, 'utf8')
    await ensureOwnKey({ api, home })
    expect(readFileSync(file, 'utf8')).toBe(material)
    expect(api.calls).toEqual(['DescribeKeyPairs', 'CreateKeyPair', 'DescribeKeyPairs'])
  })

  it.each([
    ['is lost', (file: string) => rmSync(file)],
    ['holds something else', (file: string) => writeFileSync(file, 'not a key')],
  ])('is made anew when its file %s', async (_, spoil) => {
    const api = keyPairApi()
    await ensureOwnKey({ api, home })
    spoil(ownKey(home).file)
    await ensureOwnKey({ api, home })
    expect(api.calls.slice(2)).toEqual(['DescribeKeyPairs', 'DeleteKeyPair', 'CreateKeyPair'])
    expect(readFileSync(ownKey(home).file, 'utf8')).toContain('PRIVATE KEY')
    await ensureOwnKey({ api, home })
    expect(api.calls.at(-1)).toBe('DescribeKeyPairs')
  })

  it('passes on what is wrong otherwise', async () => {
    const api: ApiClient = { call: () => Promise.reject(new ApiError('AuthFailure', 'no')) }
    await expect(ensureOwnKey({ api, home })).rejects.toThrow('no')
  })
})
