import { describe, expect, it } from 'vitest'
import { crashEverywhere, problemsAtRest, snapshotRow, volumeRow, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, dataOf, imagesOf, instanceOf, memoryOf, processOf, runningGuest, setInstance, snapshotAll,
} from '../../test/support/hibernation-lab.ts'

type Guest = Awaited<ReturnType<typeof runningGuest>>

/** Runs, and nothing is left of any hibernation. */
async function expectRunning(lab: DiskAgent, { id }: Guest): Promise<void> {
  const { state, doc } = await instanceOf(lab, id)
  expect([state, doc.memory, processOf(lab, id)?.status, imagesOf(lab, id)]).toEqual(['running', null, 'running', []])
  expect(lab.world.harm).toEqual([])
  expect(await problemsAtRest(lab)).toEqual([])
}

/** The host loses its power where the agent dies. */
const withPowerCuts = (lab: DiskAgent, id: string) => {
  lab.wrapped.atCrash = () => lab.world.processDies(id)
}

describe('an agent that dies anywhere', () => {
  it('while an instance is hibernated and started lets its guest go on where it was', async () => {
    const points = await crashEverywhere(async (lab, mortal) => {
      const guest = await runningGuest(lab)
      await mortal(async () => {
        await askToHibernate(lab, guest.id)
        await lab.settle()
        await askToStart(lab, guest.id)
        await lab.settle()
      })
      expect(memoryOf(lab, guest.id)).toEqual(guest.before)
      await expectRunning(lab, guest)
    })
    // Two transactions to save and three to load; three calls of drivers for each, seen before and after.
    expect(points).toBeGreaterThan(20)
  })

  it('with its host lets no guest go on with memory that is older than its disks', async () => {
    const booted: boolean[] = []
    await crashEverywhere(async (lab, mortal) => {
      const guest = await runningGuest(lab)
      withPowerCuts(lab, guest.id)
      await mortal(async () => {
        await askToHibernate(lab, guest.id)
        await lab.settle()
        await askToStart(lab, guest.id)
        await lab.settle()
      })
      lab.wrapped.atCrash = () => {}
      if ((await instanceOf(lab, guest.id)).state === 'stopped') {
        await askToStart(lab, guest.id)
        await lab.settle()
      }
      booted.push(memoryOf(lab, guest.id)?.bootId !== guest.before.bootId)
      lab.world.guestWrites(guest.id, guest.root, 9)
      expect(await dataOf(lab, guest.root)).toEqual({ 0: 9 })
      await expectRunning(lab, guest)
    })
    expect(new Set(booted)).toEqual(new Set([true, false]))
  })

  it.each([
    ['given up by force', 'stopped'], ['terminated', 'terminated'],
  ] as const)('while a hibernation is %s as soon as the memory is saved forgets it', async (_what, to) => {
    await crashEverywhere(async (lab, mortal) => {
      const { id } = await runningGuest(lab)
      lab.wrapped.hypervisor = (driver) => {
        const save = driver.ensureSaved.bind(driver)
        driver.ensureSaved = async (...args) => {
          const result = await save(...args)
          if (to === 'stopped') await setInstance(lab, id, {}, { force: true })
          else await setInstance(lab, id, { state: 'shutting-down' }, { hibernate: false })
          return result
        }
      }
      lab.restart()
      await mortal(async () => {
        await askToHibernate(lab, id)
        await lab.settle()
      })
      const { state, doc } = await instanceOf(lab, id)
      expect([state, doc.memory, imagesOf(lab, id), processOf(lab, id)]).toEqual([to, null, [], null])
      lab.wrapped.hypervisor = () => {}
    })
  })

  it('while the memory of an instance cannot be saved stops it, and it boots at its next start', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const guest = await runningGuest(lab)
      lab.world.hibernationFails = true
      await mortal(async () => {
        await askToHibernate(lab, guest.id)
        await lab.settle()
      })
      lab.world.hibernationFails = false
      const { state, doc } = await instanceOf(lab, guest.id)
      expect([state, doc.memory, doc.stateReason?.code, imagesOf(lab, guest.id)]).toEqual(['stopped', null, 'Server.InternalError', []])
      await askToStart(lab, guest.id)
      await lab.settle()
      expect(memoryOf(lab, guest.id)?.counter).toBe(0)
      await expectRunning(lab, guest)
    })
  })

  it('while snapshots are made of an instance that is being hibernated loses nothing of either', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const guest = await runningGuest(lab)
      const [ofData = '', ofRoot = ''] = await mortal(async () => {
        const ids = await snapshotAll(lab, guest.id, 'quiesced')
        await askToHibernate(lab, guest.id)
        await lab.settle()
        await askToStart(lab, guest.id)
        await lab.settle()
        return ids
      })
      expect(memoryOf(lab, guest.id)).toEqual(guest.before)
      const [data, root] = await Promise.all([snapshotRow(lab, ofData), snapshotRow(lab, ofRoot)])
      expect([data?.state, root?.state]).toEqual(['completed', 'completed'])
      expect(Object.fromEntries(lab.world.dataOf(root?.layer_id ?? ''))).toEqual({ 0: 1 })
      expect((await volumeRow(lab, guest.data))?.next_layer_id).toBeNull()
      expect((await instanceOf(lab, guest.id)).doc.freezing ?? false).toBe(false)
      await expectRunning(lab, guest)
    })
  })
})
