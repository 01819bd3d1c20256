import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, imagesOf, instanceOf, memoryOf, processOf, runningGuest, setInstance,
} from '../../test/support/hibernation-lab.ts'
import { changeInstanceDoc } from '../model/instance.ts'
import { giveUpMemory } from '../model/memory.ts'
import { HIBERNATE_DEADLINE_MS } from './hibernate.ts'
import { again } from './loop.ts'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
})
afterEach(async () => {
  expect(lab.world.harm).toEqual([])
  await lab.close()
})

/** Memory that takes half an hour to be saved; something happens as soon as that has begun. */
function slowly(happens: (id: string) => Promise<unknown>): { tookMs: number } {
  const seen = { tookMs: 0 }
  lab.wrapped.hypervisor = (driver) => {
    const save = driver.ensureSaved.bind(driver)
    driver.ensureSaved = async (id, image, disks, signal) => {
      const beganMs = lab.clock.now()
      await happens(id)
      const isAborted = () => signal?.aborted
      while (!isAborted() && lab.clock.now() - beganMs < 1_800_000) await lab.clock.advance(100)
      seen.tookMs = lab.clock.now() - beganMs
      return save(id, image, disks, signal)
    }
  }
  lab.restart()
  return seen
}

describe('an instance whose memory is being saved, which takes long,', () => {
  it('and that is forced to stop does not wait for that: its guest goes on, and shuts down', async () => {
    const { id } = await runningGuest(lab)
    const seen = slowly(() => setInstance(lab, id, {}, { force: true }))
    await askToHibernate(lab, id)
    await lab.settle()
    expect(seen.tookMs).toBeLessThanOrEqual(1100)
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory, doc.hibernate, imagesOf(lab, id), processOf(lab, id)]).toEqual(['stopped', null, false, [], null])
    expect(doc.stateReason?.code).toBe('Client.UserInitiatedHibernate')
    expect(lab.world.machines.get(id)?.console).toContain('The simulated guest is down.')
  })

  it('and that is terminated without a shutdown ends at once', async () => {
    const { id } = await runningGuest(lab)
    const seen = slowly(() => setInstance(lab, id, { state: 'shutting-down' }, { hibernate: false, skipOsShutdown: true }))
    await askToHibernate(lab, id)
    await lab.settle()
    expect(seen.tookMs).toBeLessThanOrEqual(1100)
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'terminated', doc: { memory: null } })
    expect([imagesOf(lab, id), processOf(lab, id)]).toEqual([[], null])
    expect(lab.world.machines.get(id)?.console).not.toContain('The simulated guest is down.')
  })

  it('is hibernated however long that takes, also when it failed before', async () => {
    const { id } = await runningGuest(lab)
    let attempts = 0
    const seen = slowly(async () => {
      attempts += 1
      if (attempts === 1) await lab.clock.advance(2 * HIBERNATE_DEADLINE_MS)
      if (attempts < 3) throw new Error('QEMU did not answer')
    })
    await askToHibernate(lab, id)
    await lab.settle()
    expect(seen.tookMs).toBe(1_800_000)
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { memory: { state: 'saved' } } })
  })
})

it('memory of two instances is saved at a time; the guest of another one runs until then, and has begun nothing', async () => {
  const guests = [await runningGuest(lab), await runningGuest(lab), await runningGuest(lab)]
  const [first = '', second = '', third = ''] = guests.map((guest) => guest.id)
  const saving = new Map<string, () => void>()
  lab.wrapped.hypervisor = (driver) => {
    const save = driver.ensureSaved.bind(driver)
    driver.ensureSaved = async (...args) => {
      await new Promise<void>((resolve) => saving.set(args[0], resolve))
      return save(...args)
    }
  }
  lab.restart()
  for (const { id } of guests) await askToHibernate(lab, id)
  const runs = [lab.reconcile(first), lab.reconcile(second)]
  while (saving.size < 2) await lab.clock.advance(0)
  expect(await lab.reconcile(third)).toEqual(again(500))
  expect([processOf(lab, third)?.status, (await instanceOf(lab, third)).doc.memory]).toEqual(['running', null])
  for (const resolve of saving.values()) resolve()
  await Promise.all(runs)
  lab.wrapped.hypervisor = () => {}
  lab.restart()
  await lab.settle()
  for (const { id } of guests) expect((await instanceOf(lab, id)).doc.memory?.state).toBe('saved')
})

it('an instance whose memory has a key that cannot be had is stopped instead, at once', async () => {
  const { id } = await runningGuest(lab)
  let isFirst = true
  lab.wrapped.hypervisor = (driver) => {
    const save = driver.ensureSaved.bind(driver)
    driver.ensureSaved = async (...args) => {
      if (!isFirst) return save(...args)
      isFirst = false
      await lab.run(async ({ db }) => {
        const row = await db.selectFrom('instances').select('doc').where('instance_id', '=', id).executeTakeFirstOrThrow()
        const { memory } = JSON.parse(row.doc)
        await changeInstanceDoc(db, id, { memory: { ...memory, wrappedKey: 'of another home' } })
      })
      throw new Error('the agent dies')
    }
  }
  lab.restart()
  const beganMs = lab.clock.now()
  await askToHibernate(lab, id)
  await lab.settle()
  const { state, doc } = await instanceOf(lab, id)
  expect([state, doc.memory, imagesOf(lab, id)]).toEqual(['stopped', null, []])
  expect(doc.stateReason?.message).toContain('stopped without hibernation: a data key under a-key is damaged')
  expect(lab.clock.now() - beganMs).toBeLessThan(60_000)
})

describe('a hibernated instance whose memory is given up', () => {
  async function givenUp() {
    const guest = await runningGuest(lab)
    await askToHibernate(lab, guest.id)
    await lab.settle()
    expect(imagesOf(lab, guest.id)).toHaveLength(1)
    await lab.run((context) => giveUpMemory(context, guest.id))
    return guest
  }

  it('has its file deleted, once, when no start comes', async () => {
    let calls = 0
    lab.wrapped.hypervisor = (driver) => {
      const forget = driver.ensureForgotten.bind(driver)
      driver.ensureForgotten = (instanceId) => {
        calls += 1
        return forget(instanceId)
      }
    }
    lab.restart()
    const { id } = await givenUp()
    for (let looks = 0; looks < 3; looks++) {
      await setInstance(lab, id, {})
      await lab.settle()
    }
    expect([imagesOf(lab, id), (await instanceOf(lab, id)).doc.memory, (await instanceOf(lab, id)).state]).toEqual([[], null, 'stopped'])
    expect(calls).toBe(1)
  })

  it('boots when it is started', async () => {
    const { id } = await givenUp()
    await askToStart(lab, id)
    await lab.settle()
    expect([imagesOf(lab, id), (await instanceOf(lab, id)).doc.memory, memoryOf(lab, id)?.counter]).toEqual([[], null, 0])
  })
})
