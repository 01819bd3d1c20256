import { expect, test } from 'vitest'
import { filterNode } from './disk-nodes.ts'
import { freeName } from './disks.ts'

test('a disk that is plugged in again has a name of its own while its former device is there, or only the nodes of that', () => {
  const nothing = { disks: [], nodes: new Set<string>() }
  expect(freeName(nothing, 'vol-1')).toBe('vol-1')
  expect(freeName({ ...nothing, disks: [{ name: 'vol-1' }] }, 'vol-1')).toBe('vol-1.2')
  expect(freeName({ ...nothing, nodes: new Set([filterNode('vol-1')]) }, 'vol-1')).toBe('vol-1.2')
  expect(freeName({ disks: [{ name: 'vol-1.2' }], nodes: new Set([filterNode('vol-1'), filterNode('vol-2')]) }, 'vol-1')).toBe('vol-1.3')
})
