import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { createImportFolder } from '../../src/disk-formats/import-folder.ts'
import { importImage } from '../../src/ec2/import-image.ts'
import { createMemoryKeys } from '../../src/keys/memory-keys.ts'
import { importTaskDoc, type ImportTaskDoc } from '../../src/model/import-task.ts'
import { createImportReconciler } from '../../src/reconcile/import.ts'
import { createLayerReconciler } from '../../src/reconcile/layer.ts'
import { ReconcileLoop } from '../../src/reconcile/loop.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { openMemoryAccount, type MemoryAccount } from '../support/memory-account.ts'
import { HOST_ID } from '../support/rows.ts'
import type { Volumes } from '../../src/volumes/driver.ts'

const MIB = 1024 ** 2
let home: string
let account: MemoryAccount
let volumes: Volumes
let loop: ReconcileLoop
const at = (...names: string[]) => path.join(home, ...names)
const qemuImg = (...words: string[]) => execFileSync('qemu-img', words, { stdio: 'pipe' })

const disk = Buffer.alloc(24 * MIB)
const KINDS: Record<string, string[]> = {
  'disk.qcow2': ['-O', 'qcow2'], 'compressed.qcow2': ['-O', 'qcow2', '-c'], 'disk.img': ['-O', 'raw'], 'disk.vmdk': ['-O', 'vmdk'],
  'stream.vmdk': ['-O', 'vmdk', '-o', 'subformat=streamOptimized'], 'disk.vhd': ['-O', 'vpc', '-o', 'force_size=on'],
  'fixed.vhd': ['-O', 'vpc', '-o', 'subformat=fixed,force_size=on'], 'disk.vhdx': ['-O', 'vhdx'],
}

beforeAll(async () => {
  home = mkdtempSync(path.join(tmpdir(), 'hearth-import-'))
  mkdirSync(at('imports'))
  for (const start of [0, 9 * MIB, 23 * MIB]) seededRandom(start + 1).bytes(MIB).forEach((byte, index) => void (disk[start + index] = byte))
  writeFileSync(at('source'), disk)
  for (const [name, words] of Object.entries(KINDS)) qemuImg('convert', '-f', 'raw', ...words, at('source'), at('imports', name))
  account = await openMemoryAccount()
  volumes = createQcow2Volumes({ home, log: silentLogger })
  const common = {
    store: account.store, clock: systemClock, random: seededRandom(3), log: silentLogger, volumes, keys: createMemoryKeys(), hostId: HOST_ID,
  }
  const nothing = { reconcile: () => Promise.reject(new Error('nobody asked for this')) }
  loop = new ReconcileLoop({
    ...common,
    onFatal: (error) => {
      throw error
    },
    reconcilers: {
      instance: nothing, volume: nothing, vpc: nothing, ports: nothing, console: nothing, screenshot: nothing, images: nothing, recycle: nothing,
      event: nothing, interrupt: nothing, 'pushed-key': nothing, reservation: nothing, zone: nothing, market: nothing, 'spot-request': nothing,
      fleet: nothing, 'event-target': nothing, usage: nothing,
      layer: createLayerReconciler(common), import: createImportReconciler({ ...common, imports: createImportFolder(at('imports')) }),
    },
  })
  loop.start()
})
afterAll(async () => {
  await loop.stop()
  await volumes.close()
  await account.store.close()
  rmSync(home, { recursive: true, force: true })
})

const start = async (...names: string[]) => (await account.call(importImage, {
  DiskContainers: names.map((name) => ({ Url: `file://${at('imports', name)}` })),
})).ImportTaskId ?? ''

/** The task when it is over. */
const ended = (taskId: string) => waitFor(systemClock, `${taskId} to end`, 60_000, async () => {
  const row = await account.store.read((db) =>
    db.selectFrom('import_tasks').selectAll().where('task_id', '=', taskId).executeTakeFirstOrThrow())
  return row.state === 'active' ? undefined : { state: row.state, doc: importTaskDoc(row) }
})

/** Hashes of what a guest would read of the disks, as far as they are not beyond the disk they were made of. */
async function contentsOf(doc: ImportTaskDoc): Promise<string[]> {
  const hashes: string[] = []
  for (const { snapshotId } of doc.disks) {
    const { layer_id: layerId } = await account.store.read((db) =>
      db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', snapshotId).executeTakeFirstOrThrow())
    const layer = volumes.pathOf(layerId ?? '')
    // Beyond its end all is zeros.
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('source'), layer)
    qemuImg('dd', '-f', 'qcow2', '-O', 'raw', 'bs=1M', `count=${disk.length / MIB}`, `if=${layer}`, `of=${at('read')}`)
    hashes.push(sha256(readFileSync(at('read'))))
  }
  return hashes
}
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

it('disks of every format become layers of the same content, sealed under the image', async () => {
  const { state, doc } = await ended(await start(...Object.keys(KINDS)))
  expect([state, doc.statusMessage]).toEqual(['completed', 'completed'])
  expect(await contentsOf(doc)).toEqual(Object.keys(KINDS).map(() => sha256(disk)))
  const image = await account.store.read((db) =>
    db.selectFrom('images').selectAll().where('image_id', '=', doc.imageId ?? '').executeTakeFirst())
  expect(image).toMatchObject({ state: 'available', root_device_name: '/dev/sda1' })
  for (const name of Object.keys(KINDS)) {
    expect((await createImportFolder(at('imports')).inspect(at('imports', name), null)).path).toBe(at('imports', name))
  }
})

it('a disk that reaches for another file, or is cut off, is refused and leaves no layer', async () => {
  const before = await volumes.list()
  qemuImg('create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', at('imports', 'overlay.qcow2'))
  writeFileSync(at('imports', 'cut.qcow2'), readFileSync(at('imports', 'disk.qcow2')).subarray(0, 2 * MIB))
  expect(await ended(await start('disk.img', 'overlay.qcow2'))).toMatchObject({
    state: 'error', doc: { statusMessage: expect.stringMatching(/^ClientError: .*overlay.qcow2 cannot be used: .*backing file/) as string },
  })
  expect(await ended(await start('cut.qcow2'))).toMatchObject({
    state: 'error', doc: { statusMessage: expect.stringMatching(/^ClientError: .*cut.qcow2 cannot be used: .*truncated/) as string },
  })
  expect(await volumes.list()).toEqual(before)
})
