import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { GuestArchitecture, Hypervisor, MachineSpec } from '../../src/hypervisor/driver.ts'
import { bootableArchitectures, uefiFirmware } from '../../src/hypervisor/qemu/architecture.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { buildImage } from '../../src/images/build.ts'
import { loadRecipe } from '../../src/images/recipe.ts'
import { makeTinyDisk } from '../../src/images/tiny.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import type { Volumes } from '../../src/volumes/driver.ts'
import { testCache } from '../support/tiny-image.ts'
import { whyNoQemu } from './hypervisor-hosts.ts'

const LAYER = 'lay-0123456789abcdef0'
const IMAGE = 'snap-0123456789abcdef0'

function canBoot(architecture: GuestArchitecture): boolean {
  try {
    uefiFirmware(architecture)
    return whyNoQemu() === undefined && bootableArchitectures().includes(architecture)
  } catch {
    return false
  }
}

/** The tiny image as UEFI boots it on x86_64: the disk of somebody else's distribution, in small. */
async function uefiTinyDisk(folder: string): Promise<string> {
  const recipe = await loadRecipe('tiny')
  const variant = {
    ...recipe, packagesAlone: [...recipe.packagesAlone, 'systemd-boot-efi'],
    uefi: { loader: ['usr/lib/systemd/boot/efi/systemd-bootx64.efi'], name: 'EFI/BOOT/BOOTX64.EFI' },
  }
  return (await makeTinyDisk(variant, folder, () => {})).file
}

async function armTinyDisk(): Promise<string> {
  const options = { home: testCache, clock: systemClock, log: silentLogger, progress: () => {} }
  return (await buildImage('tiny-arm64', options)).file
}

describe.each([
  { architecture: 'x86_64', machine: /^pc-q35-/, disk: uefiTinyDisk },
  { architecture: 'arm64', machine: /^virt-/, disk: armTinyDisk },
] as const)('a UEFI guest for $architecture', ({ architecture, machine, disk }) => {
  describe.skipIf(!canBoot(architecture))('where its firmware is installed', () => {
    let folder: string
    let driver: Hypervisor
    let volumes: Volumes
    const instanceId = architecture === 'arm64' ? 'i-0123456789abcdef1' : 'i-0123456789abcdef2'

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'hearth-uefi-'))
      driver = createQemuHypervisor({ home: folder, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg' })
      volumes = createQcow2Volumes({ home: folder, log: silentLogger })
      const work = mkdtempSync(join(folder, 'work-'))
      const copy = join(work, 'layer.qcow2')
      copyFileSync(await disk(work), copy)
      await volumes.importLayer(IMAGE, copy)
      await volumes.ensureLayer({ layerId: LAYER, sizeGib: 1, parentId: IMAGE, key: null })
    }, 120_000)

    afterAll(async () => {
      await driver?.remove(instanceId)
      await driver?.close()
      await volumes?.close()
      rmSync(folder, { recursive: true })
    })

    test('boots from its own disk through its own boot loader', async () => {
      const platform = await driver.platform({ architecture, firmware: 'uefi' })
      expect(platform).toMatchObject({ firmware: 'uefi', accelerator: 'tcg', machineType: expect.stringMatching(machine) as string })
      const layers = [LAYER, IMAGE].map((layerId) => ({ layerId, path: volumes.pathOf(layerId), key: null }))
      const spec: MachineSpec = {
        instanceId, uuid: 'ec201234-5678-4000-8000-123456789abd', slot: 7, vcpus: 2, memoryMib: 512, platform,
        disks: [{ volumeId: 'vol-0123456789abcdef0', deviceName: '/dev/xvda', layers, sizeGib: 1, limits: null }],
        nics: [], maxNics: 1, netnsPath: null,
      }
      await driver.ensureRunning(spec)
      // Without a network all that it can say is that it is up, and offer a shell.
      await waitFor(systemClock, 'the shell of the guest', 90_000, async () =>
        (await driver.consoleOutput(instanceId, 65_536)).toString().includes('built-in shell'), 100)
    }, 120_000)
  })
})
