import { expect, it } from 'vitest'
import { systemRandom } from '../core/random.ts'
import { makeIdentityKey } from '../imds/identity-key.ts'
import { describeCertificate } from './certificate.ts'

it('tells what is in the certificate of the cloud', async () => {
  const { certificate } = await makeIdentityKey(systemRandom, Date.UTC(2026, 0, 1))
  expect(describeCertificate(certificate)).toEqual({
    certificate, subject: 'O=Hearth, CN=Hearth instance identity', serialNumber: expect.stringMatching(/^40[0-9A-F]{30}$/),
    fingerprint256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
    validFrom: '2026-01-01T00:00:00.000Z', validTo: '2126-01-01T00:00:00.000Z',
  })
})
