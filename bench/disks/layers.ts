import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { silentLogger } from '../../src/core/logger.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { median } from '../table.ts'

const KEY = Buffer.alloc(32, 7).toString('base64')

/** Times of making a root volume on an image's layer, milliseconds (medians). */
export interface LayerTimes {
  /** Plain and encrypted, on a layer of 1 GiB and on one of 1 TiB that holds 1 GiB of data. */
  smallMs: number
  largeMs: number
  encryptedMs: number
  /** qemu-img by hand, on the large one. */
  byHandMs: number
}

/** Makes layers in `folder`, which is removed by the caller. */
export async function measureLayers(folder: string, runs: number): Promise<LayerTimes> {
  const home = path.join(folder, 'layers-home')
  mkdirSync(home)
  const volumes = createQcow2Volumes({ home, log: silentLogger })
  try {
    const bases = { small: 'lay-00000000000000001', large: 'lay-00000000000000002' }
    for (const [name, sizeGib] of [['small', 1], ['large', 1024]] as const) {
      await volumes.ensureLayer({ layerId: bases[name], sizeGib, parentId: null, key: null })
      const gib = ['-c', 'write -q -P 7 0 512M', '-c', 'write -q -P 8 512M 512M']
      execFileSync('qemu-io', ['-f', 'qcow2', ...gib, volumes.pathOf(bases[name])])
      await volumes.ensureSealed(bases[name])
    }
    let count = 0x100
    const timeOf = async (make: (layerId: string) => Promise<void> | void) => {
      const times: number[] = []
      for (let run = 0; run < runs; run++) {
        const layerId = `lay-${(++count).toString(16).padStart(17, '0')}`
        const startMs = performance.now()
        await make(layerId)
        times.push(performance.now() - startMs)
      }
      return median(times)
    }
    const onto = (parentId: string, sizeGib: number, key: string | null) => (layerId: string) =>
      volumes.ensureLayer({ layerId, sizeGib, parentId, key })
    return {
      smallMs: await timeOf(onto(bases.small, 8, null)),
      largeMs: await timeOf(onto(bases.large, 1024, null)),
      encryptedMs: await timeOf(onto(bases.large, 1024, KEY)),
      byHandMs: await timeOf((layerId) => {
        const words = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', volumes.pathOf(bases.large), path.join(folder, `${layerId}.qcow2`)]
        execFileSync('qemu-img', words)
      }),
    }
  } finally {
    await volumes.close()
  }
}
