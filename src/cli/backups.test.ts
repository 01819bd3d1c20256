import { expect, test } from 'vitest'
import { findBackup, type BackupView } from './backups.ts'
import { formatBackups } from './restore.ts'
import { formatRules, readTag } from './retention.ts'

const backup: BackupView = {
  instanceId: 'i-00000000000000001', account: '123456789012', name: 'web', type: 't3.micro', privateIp: '172.31.0.4',
  terminated: '2026-01-01T12:34:56.000Z', until: '2026-01-08T12:34:56.000Z', missingVolumeIds: [], obstacle: null,
}

test('what can be restored is meant by its id, or by a Name that only one has', () => {
  expect(findBackup([backup], 'web')).toBe(backup.instanceId)
  expect(findBackup([], 'i-00000000000000002')).toBe('i-00000000000000002')
  expect(() => findBackup([backup], 'db')).toThrow(/^no instance with the Name "db" can be restored/)
  expect(() => findBackup([backup, { ...backup, instanceId: 'i-2' }], 'web')).toThrow(/any of i-00000000000000001, i-2; give the id/)
})

test('the list says since when, until when, and what is in the way', () => {
  expect(formatBackups([])).toMatch(/^nothing to restore/)
  const lines = formatBackups([backup, { ...backup, missingVolumeIds: ['vol-1'] }, { ...backup, obstacle: 'its root is gone' }]).split('\n')
  expect(lines[1]).toMatch(/^i-00000000000000001 +web +t3.micro +172.31.0.4 +123456789012 +2026-01-01 12:34 +2026-01-08 12:34 +-$/)
  expect(lines[2]).toMatch(/without vol-1$/)
  expect(lines[3]).toMatch(/its root is gone$/)
})

test('a tag is KEY=VALUE', () => {
  expect(readTag('keep=yes')).toEqual({ key: 'keep', value: 'yes' })
  expect(readTag('a=b=c')).toEqual({ key: 'a', value: 'b=c' })
  expect(readTag('a=')).toEqual({ key: 'a', value: '' })
  for (const text of ['keep', '=yes', '']) expect(() => readTag(text)).toThrow(/is no tag; write it as KEY=VALUE/)
})

test('a rule without a tag is shown as being for every instance', () => {
  const rule = { ruleId: 'retention-1', days: 3, createdMs: 0 }
  expect(formatRules([{ ...rule, tag: null }, { ...rule, tag: { key: 'keep', value: 'yes' } }]).split('\n').slice(1))
    .toEqual(['retention-1  every instance  3', 'retention-1  keep=yes        3'])
})
