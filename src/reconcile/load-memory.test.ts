import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDiskAgent, snapshotRow, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, imagesOf, instanceOf, memoryOf, processOf, runningGuest, setInstance, snapshotAll,
} from '../../test/support/hibernation-lab.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
})
afterEach(async () => {
  expect(lab.world.harm).toEqual([])
  await lab.close()
})

async function hibernated() {
  const guest = await runningGuest(lab)
  await askToHibernate(lab, guest.id)
  await lab.settle()
  return guest
}

/** The agent's first call fails, before or after it has done what it is for; from then on, its QEMU is said to run. */
function misreported(method: 'ensureLoaded' | 'ensureReleased', when: 'before' | 'after'): void {
  let hasFailed = false
  lab.wrapped.hypervisor = (driver: Hypervisor) => {
    const [real, observe] = [driver[method].bind(driver) as (...args: never[]) => Promise<never>, driver.observe.bind(driver)]
    driver[method] = async (...args: never[]) => {
      if (hasFailed) return real(...args)
      hasFailed = true
      if (when === 'after') await real(...args)
      throw new Error('the answer is lost')
    }
    driver.observe = async (id) => {
      const machine = await observe(id)
      return hasFailed && machine.status === 'paused' ? { status: 'running', pid: machine.pid, startedAtMs: 0 } : machine
    }
  }
  lab.restart()
}

describe('a machine that is said to run since its QEMU missed a question', () => {
  it.each([
    { what: 'when its memory is loaded', method: 'ensureLoaded', when: 'after' },
    { what: 'when its guest is to go on', method: 'ensureReleased', when: 'before' },
    { what: 'when its guest has gone on', method: 'ensureReleased', when: 'after' },
  ] as const)('$what, has its guest go on where it was', async ({ method, when }) => {
    const { id, before } = await hibernated()
    misreported(method, when)
    await askToStart(lab, id)
    await lab.settle()
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory, processOf(lab, id)?.status, imagesOf(lab, id)]).toEqual(['running', null, 'running', []])
    expect(memoryOf(lab, id)).toEqual(before)
  })
})

it('a machine whose QEMU does not answer for long is running, and its guest goes on when it answers again', async () => {
  const { id, before } = await hibernated()
  let isSilent = true
  lab.wrapped.hypervisor = (driver) => {
    const [release, observe] = [driver.ensureReleased.bind(driver), driver.observe.bind(driver)]
    driver.ensureReleased = async (...args) => {
      if (isSilent) throw new Error('its QEMU does not answer')
      return release(...args)
    }
    driver.observe = async (...args) => {
      const machine = await observe(...args)
      return isSilent && machine.status === 'paused' ? { status: 'running', pid: machine.pid, startedAtMs: 0 } : machine
    }
  }
  lab.restart()
  await askToStart(lab, id)
  await lab.settle()
  expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { memory: null, startFailures: 0 } })
  expect(processOf(lab, id)?.status).toBe('paused')
  isSilent = false
  await setInstance(lab, id, {})
  await lab.settle()
  expect([processOf(lab, id)?.status, memoryOf(lab, id), imagesOf(lab, id)]).toEqual(['running', before, []])
})

it('a guest that was hibernated with frozen file systems has them thawed when it goes on, whatever became of the snapshot', async () => {
  const { id } = await hibernated()
  await setInstance(lab, id, {}, { freezing: true })
  const [snapshot = ''] = await snapshotAll(lab, id)
  await lab.settle()
  expect((await snapshotRow(lab, snapshot))?.state).toBe('completed')
  expect((await instanceOf(lab, id)).doc.freezing).toBe(true)
  const asked: boolean[] = []
  lab.wrapped.hypervisor = (driver) => {
    const turn = driver.switchDisks.bind(driver)
    driver.switchDisks = (instanceId, switches, how) => {
      asked.push(how.quiesce)
      return turn(instanceId, switches, how)
    }
  }
  lab.restart()
  await askToStart(lab, id)
  await lab.settle()
  expect([asked, (await instanceOf(lab, id)).doc.freezing]).toEqual([[true], false])
})
