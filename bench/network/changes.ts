import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PortSpec } from '../../src/network/driver.ts'
import type { Scene } from './scene.ts'
import { groupOf, portOf, vpcOf } from './specs.ts'
import { median } from '../table.ts'

/** Clock ticks of the kernel per second, in /proc. */
const TICKS_PER_SECOND = 100

/** After which a change does not wait for the one before it: what is measured is a change by itself. */
const REST_MS = 250

/** Milliseconds to bind one more interface where `present` are there, and to change a group of `rules` rules. */
export async function measureChanges(scene: Scene, present: number, rules: number, runs: number): Promise<{ bindMs: number; rulesMs: number }> {
  const { network } = scene
  const ports = Array.from({ length: present }, (_, index) => portOf(index + 1))
  const groups = [groupOf(rules)]
  const spec = vpcOf(1, ports, groups)
  await network.syncVpc(spec)
  const binds: number[] = []
  for (let run = 1; run <= runs; run++) {
    const fresh = portOf(present + run)
    const startedMs = performance.now()
    await network.syncVpc({ ...spec, ports: [...ports, fresh] }, { ports: [fresh], removed: [], groups: [] })
    binds.push(performance.now() - startedMs)
    await sleep(REST_MS)
    await network.syncVpc(spec, { ports: [], removed: [fresh.interfaceId], groups: [] })
    await sleep(REST_MS)
  }
  const changes: number[] = []
  for (let run = 1; run <= runs; run++) {
    const changed = groupOf(rules, run)
    const startedMs = performance.now()
    await network.syncVpc({ ...spec, groups: [changed] }, { ports: [], removed: [], groups: [changed] })
    changes.push(performance.now() - startedMs)
    await sleep(REST_MS)
  }
  await network.removeVpc(spec.vpcId)
  return { bindMs: median(binds), rulesMs: median(changes) }
}

export interface LaunchLoad {
  /** Cores that were busy with it: the driver and the processes that it ran. */
  cores: number
  /** Transactions that it took. */
  syncs: number
  slowestMs: number
}

/** Interfaces come at a steady rate, and what has come while a change was applied is the next change. */
export async function measureLaunches(scene: Scene, perSecond: number, seconds: number): Promise<LaunchLoad> {
  const { network } = scene
  const groups = [groupOf(10)]
  const ports: PortSpec[] = []
  await network.syncVpc(vpcOf(2, [], groups))
  const startedMs = performance.now()
  const usedBefore = cpuSeconds()
  const waiting: { port: PortSpec; sinceMs: number }[] = []
  let syncs = 0
  let slowestMs = 0
  let count = 0
  const isOver = () => count >= perSecond * seconds
  while (!isOver() || waiting.length > 0) {
    for (; !isOver() && performance.now() - startedMs >= (count * 1000) / perSecond; count++) {
      waiting.push({ port: portOf(count + 1), sinceMs: startedMs + (count * 1000) / perSecond })
    }
    const batch = waiting.splice(0)
    if (batch.length === 0) {
      await sleep(1)
      continue
    }
    const fresh = batch.map((each) => each.port)
    ports.push(...fresh)
    await network.syncVpc(vpcOf(2, ports, groups), { ports: fresh, removed: [], groups: [] })
    syncs++
    slowestMs = Math.max(slowestMs, ...batch.map((each) => performance.now() - each.sinceMs))
  }
  const cores = (cpuSeconds() - usedBefore) / ((performance.now() - startedMs) / 1000)
  await network.removeVpc('vpc-2')
  return { cores, syncs, slowestMs }
}

/** Processor time of this process and of the children that it has waited for. */
function cpuSeconds(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? []
  return fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0) / TICKS_PER_SECOND
}
