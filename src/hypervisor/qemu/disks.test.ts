import { expect, test } from 'vitest'
import { BlockGraph } from './block-graph.ts'
import { deviceId, filterNode, goneNode } from './disk-nodes.ts'
import type { Execute } from './devices.ts'
import { freeName, openVolumes } from './disks.ts'

/** QEMU's answers about one disk; without its device, something of QEMU's own still stands on the nodes. */
const qemuWith = (volumeId: string, { hasDevice, isTakenAway = false }: { hasDevice: boolean; isTakenAway?: boolean }): Execute => async (command) => {
  const below = isTakenAway ? goneNode(volumeId) : 'lay-1.1'
  const nodes = [filterNode(volumeId), below]
  switch (command) {
    case 'qom-list':
      return hasDevice ? [{ name: deviceId(volumeId) }] : []
    case 'query-named-block-nodes':
      return nodes.map((name) => ({ 'node-name': name, drv: name !== below ? 'throttle' : isTakenAway ? 'blkdebug' : 'qcow2', file: '', image: { 'virtual-size': 1 } }))
    default:
      return {
        nodes: [{ id: 1, name: hasDevice ? `/machine/peripheral/${deviceId(volumeId)}/virtio-backend` : '' }, ...nodes.map((name, index) => ({ id: index + 2, name }))],
        edges: [{ parent: 1, child: 2, name: 'root' }, { parent: 2, child: 3, name: 'file' }],
      }
  }
}

test('a volume whose device is gone has its files open until QEMU lets go of them: nobody else could open them before', async () => {
  const open = async (hasDevice: boolean, ...wanted: string[]) => openVolumes(await BlockGraph.read(qemuWith('vol-1', { hasDevice })), new Set(wanted))
  expect(await open(true)).toEqual(['vol-1'])
  expect(await open(false)).toEqual(['vol-1'])
  expect(await open(true, 'vol-1')).toEqual(['vol-1'])
  // It is to be a device of the machine, and is none.
  expect(await open(false, 'vol-1')).toEqual([])
  expect(openVolumes(await BlockGraph.read(qemuWith('vol-1', { hasDevice: false, isTakenAway: true })), new Set())).toEqual([])
})

test('a disk that is plugged in again has a name of its own while its former device is there, or only the nodes of that', () => {
  const nothing = { disks: [], nodes: new Set<string>() }
  expect(freeName(nothing, 'vol-1')).toBe('vol-1')
  expect(freeName({ ...nothing, disks: [{ name: 'vol-1' }] }, 'vol-1')).toBe('vol-1.2')
  expect(freeName({ ...nothing, nodes: new Set([filterNode('vol-1')]) }, 'vol-1')).toBe('vol-1.2')
  expect(freeName({ disks: [{ name: 'vol-1.2' }], nodes: new Set([filterNode('vol-1'), filterNode('vol-2')]) }, 'vol-1')).toBe('vol-1.3')
})
