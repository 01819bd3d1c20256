import { describe, expect, test } from 'vitest'
import { VirtualClock } from '../core/virtual-clock.ts'
import { seededRandom } from '../core/random.ts'
import { readRoom, recycleWarnings, roomWarnings, watchRoom, type Room } from './room.ts'

const PLENTY: Room = { disk: { freeMib: 50_000, totalMib: 100_000 }, memory: { availableMib: 8000, totalMib: 16_000 } }
const promised = (vcpus: number, memoryMib: number) => ({ nominal: { vcpus: 32, memoryMib: 64_000 }, used: { vcpus, memoryMib } })

describe('what is left of the machine', () => {
  test('is little for the recycle bin from four fifths of its budget on', () => {
    expect(recycleWarnings(null)).toEqual([])
    expect(recycleWarnings({ heldMib: 7000, budgetMib: 10_240 })).toEqual([])
    expect(recycleWarnings({ heldMib: 8192, budgetMib: 10_240 })).toEqual([{
      of: 'recycle-bin', text: expect.stringMatching(/^the recycle bin holds 8 GiB of at most 10 GiB: .*--recycle-budget-gib$/) as string,
    }])
  })

  test('is read from the disk of the home and from the memory', () => {
    const room = readRoom('/')
    expect(room.disk.freeMib).toBeGreaterThanOrEqual(0)
    expect(room.disk.totalMib).toBeGreaterThan(room.disk.freeMib)
    expect(room.memory.totalMib).toBeGreaterThan(room.memory.availableMib)
  })

  test('is no reason to warn while there is plenty', () => {
    expect(roomWarnings(PLENTY, '/home', [promised(16, 32_000)])).toEqual([])
  })

  test.each([
    [{ ...PLENTY, disk: { freeMib: 5119, totalMib: 20_000 } }, /only 5 GiB are free on the disk of \/home/],
    [{ ...PLENTY, disk: { freeMib: 40_000, totalMib: 1_000_000 } }, /are free on the disk/],
    [{ ...PLENTY, memory: { availableMib: 1500, totalMib: 16_000 } }, /of memory are available/],
  ])('is told early: %j', (room, warning) => {
    expect(roomWarnings(room, '/home')).toEqual([expect.objectContaining({ text: expect.stringMatching(warning) as string })])
  })

  test.each([promised(30, 100), promised(1, 60_000)])('counts what was promised: %j', (each) => {
    expect(roomWarnings(PLENTY, '/home', [each])).toMatchObject([{ of: 'capacity' }])
  })

  test('names the zones that are nearly full, where others are not', () => {
    const zones = [{ zone: 'us-east-1a', ...promised(30, 100) }, { zone: 'us-east-1b', ...promised(1, 100) }]
    const [one] = roomWarnings(PLENTY, '/home', zones)
    expect(one?.text).toMatch(/^nearly all capacity of us-east-1a is promised: launches there will soon fail .* choose another zone, or raise/)
    const [all] = roomWarnings(PLENTY, '/home', zones.slice(0, 1))
    expect(all?.text).toMatch(/^nearly all capacity is promised: launches will soon fail/)
  })

  test('is watched while the cloud runs, and each warning said once when it arises', () => {
    const clock = new VirtualClock(seededRandom(1))
    const said: string[] = []
    let room = PLENTY
    const watch = watchRoom('/home', clock, { out: () => {}, say: (line) => said.push(line) }, () => room)
    expect(said).toEqual([])
    for (const freeMib of [3000, 2000, 50_000, 1000]) {
      room = { ...PLENTY, disk: { freeMib, totalMib: 100_000 } }
      clock.step()
    }
    expect(said).toEqual([expect.stringMatching(/^warning: only 2.9 GiB/), expect.stringMatching(/^warning: only 1000 MiB/)])
    watch.cancel()
    expect(clock.nextAt()).toBeUndefined()
  })
  test('is watched on where the home is gone', () => {
    const clock = new VirtualClock(seededRandom(1))
    const watch = watchRoom('/nowhere/at/all', clock, { out: () => {}, say: () => {} })
    clock.step()
    expect(clock.nextAt()).toBeDefined()
    watch.cancel()
  })
})
