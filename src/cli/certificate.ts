import { X509Certificate } from 'node:crypto'
import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { ensureIdentityKey } from '../imds/identity-key.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import type { Terminal } from './terminal.ts'

/** `hearth certificate`: what instance identity documents are verified with. */
export function addCertificate(program: Command, terminal: Terminal): void {
  const description = 'print the certificate that verifies instance identity documents'
  const command = newCommand(program, 'certificate', description, [
    'hearth certificate > certificate', 'hearth certificate --json',
    'openssl smime -verify -in rsa2048 -inform PEM -certfile certificate -noverify',
  ])
  withSettings(command.option('--json', 'print it as JSON, with its fingerprint')).action(async () => {
    const { certificate } = await withStore(settingsOf(command), (store) =>
      ensureIdentityKey(store, { clock: systemClock, random: systemRandom }))
    const json = () => JSON.stringify(describeCertificate(certificate), null, 2)
    terminal.out(command.opts().json ? json() : certificate.trimEnd())
  })
}

/** What `--json` prints of a certificate in PEM; times are in ISO 8601. */
export function describeCertificate(certificate: string): Record<string, string> {
  const { subject, serialNumber, fingerprint256, validFrom, validTo } = new X509Certificate(certificate)
  return {
    certificate, subject: subject.replaceAll('\n', ', '), serialNumber, fingerprint256,
    validFrom: new Date(validFrom).toISOString(), validTo: new Date(validTo).toISOString(),
  }
}
