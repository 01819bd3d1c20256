import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertInstance, insertLayerRow, insertSnapshot, insertVolume, NOW_MS, openTestStore, type TestStore,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { Context } from '../ec2/context.ts'
import { formatDisks } from './disk.ts'
import { readDisks } from './disks.ts'

let test: TestStore
let home: string
beforeEach(async () => {
  test = await openTestStore()
  home = mkdtempSync(path.join(tmpdir(), 'hearth-disks-'))
  for (const folder of ['layers', 'volumes']) mkdirSync(path.join(home, folder))
})
afterEach(() => rmSync(home, { recursive: true }))

/** Puts a file in the place of a layer. */
function write(layerId: string | null, kib: number): void {
  writeFileSync(path.join(home, 'layers', `${layerId}.qcow2`), Buffer.alloc(kib * 1024, 1))
}

const read = () => readDisks(test.store, home)

/** A sealed layer on `depth` others, which are not there. */
const insertDeep = (context: Context, depth: number, change = {}) => insertLayerRow(context, { depth, ...change })

describe('hearth disk list', () => {
  it('tells what each disk adds on disk, and on how many layers it stands', async () => {
    const { snapshot, volume, image } = await test.run(async (context) => {
      const snapshot = await insertSnapshot(context, { volume_id: 'vol-0123456789abcdef0' })
      const head = await insertLayerRow(context, { parent_id: snapshot.layer_id, depth: 1, state: 'open', size_gib: 8 })
      const instance = await insertInstance(context)
      return {
        snapshot, volume: await insertVolume(context, instance, { layer_id: head.layer_id, encrypted: 1 }),
        image: await insertImage(context, { snapshot_id: snapshot.snapshot_id }, { sizeGib: 2 }),
      }
    })
    write(snapshot.layer_id, 2048)
    write(volume.layer_id, 512)
    const report = await read()
    expect(report.volumes).toEqual([{
      volumeId: volume.volume_id, account: DEFAULT_ACCOUNT, state: 'in-use', instanceId: volume.instance_id, sizeGib: 8,
      isEncrypted: true, layers: 2, bytes: 512 * 1024,
    }])
    expect(report.snapshots.find((each) => each.snapshotId === snapshot.snapshot_id))
      .toMatchObject({ layers: 1, bytes: 2 ** 21, isEncrypted: false, volumeId: 'vol-0123456789abcdef0' })
    expect(report.images).toMatchObject([
      { imageId: image.image_id, disks: [{ deviceName: '/dev/vda', snapshotId: snapshot.snapshot_id, sizeGib: 2 }] },
    ])
    expect([report.bytes, report.work, report.recycleBin.items]).toEqual([2 ** 21 + 2 ** 19, [], []])
    const text = formatDisks(report)
    expect(text).toMatch(new RegExp(`^${volume.volume_id} +in-use +8 GiB +1 MiB +2 +yes +${volume.instance_id}$`, 'm'))
    expect(text).toMatch(new RegExp(`^${snapshot.snapshot_id} +completed +1 GiB +2 MiB +1 +no +vol-0123456789abcdef0$`, 'm'))
    expect(text).toMatch(/^3 layers, 3 MiB on disk$/m)
  })

  it('tells what is under way in the background, and how far it is', async () => {
    const ids = await test.run(async (context) => {
      const deep = await insertSnapshot(context, { layer_id: (await insertDeep(context, 9)).layer_id })
      await insertDeep(context, 0, { state: 'filling', replaces_id: deep.layer_id, doc: '{"progress":30.5}' })
      const filling = await insertDeep(context, 0, { state: 'filling', doc: '{"source":{"layerId":"lay-1"}}' })
      const copy = await insertSnapshot(context, { state: 'pending', layer_id: filling.layer_id })
      const running = await insertDeep(context, 9, { state: 'open', doc: '{"progress":80}' })
      const shortened = await insertVolume(context, undefined, { layer_id: running.layer_id })
      const next = await insertDeep(context, 1, { state: 'making' })
      const frozen = await insertVolume(context, undefined, { next_layer_id: next.layer_id, freeze: 'crash' })
      return { deep: deep.snapshot_id, copy: copy.snapshot_id, shortened: shortened.volume_id, frozen: frozen.volume_id }
    })
    const report = await read()
    expect(report.work.map(({ kind, of, percent }) => [kind, of, percent]).toSorted()).toEqual([
      ['fill', [ids.copy], 0], ['flatten', [ids.deep], 30], ['freeze', [ids.frozen], null], ['shorten', [ids.shortened], 80],
    ])
    const text = formatDisks(report)
    expect(text).toContain(`busy    ${ids.deep} is being copied into one layer: 30 %\n`)
    expect(text).toContain(`busy    ${ids.frozen} is about to go on in a new layer\n`)
  })

  it('tells what the recycle bin holds, and for how long', async () => {
    const [snapshot, volume] = await test.run(async (context) => {
      await context.db
        .updateTable('hosts').set({ doc: JSON.stringify({ recycleBin: { heldMib: 3, budgetMib: 2048 } }) }).execute()
      return [
        await insertSnapshot(context, { binned_ms: NOW_MS + 60_000, bin_exit_ms: NOW_MS + 86_460_000 }),
        await insertVolume(context, undefined, { binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 86_400_000 }),
      ] as const
    })
    const report = await read()
    expect([report.volumes, report.snapshots]).toEqual([[], []])
    expect(report.recycleBin).toEqual({
      heldMib: 3, budgetMib: 2048,
      items: [
        {
          kind: 'volume', id: volume.volume_id, account: DEFAULT_ACCOUNT, binned: '2026-01-01T00:00:00.000Z',
          until: '2026-01-02T00:00:00.000Z',
        },
        {
          kind: 'snapshot', id: snapshot.snapshot_id, account: DEFAULT_ACCOUNT, binned: '2026-01-01T00:01:00.000Z',
          until: '2026-01-02T00:01:00.000Z',
        },
      ],
    })
    expect(formatDisks(report)).toMatch(/^2 in the recycle bin; only the bin holds 3 MiB of at most 2 GiB$/m)
  })

  it('tells why a layer could not be filled', async () => {
    const layer = await test.run((context) => insertLayerRow(context, { state: 'failed', doc: '{"error":"no space left"}' }))
    expect(formatDisks(await read())).toBe(
      `no volumes\n\nno snapshots\n\nno images\n\n1 layer, 0 MiB on disk\nfailed  ${layer.layer_id}: no space left`,
    )
  })
})
