import { existsSync, readdirSync } from 'node:fs'
import { systemClock, waitFor } from '../src/core/clock.ts'
import { homeIdOf } from '../src/home.ts'
import { createNames, NETNS_FOLDER } from '../src/network/linux/names.ts'
import { type ByHand, prepareByHand } from './by-hand.ts'
import { commandLineOf, launchByHearth, type Launched, prepareAccount, terminate } from './by-hearth.ts'
import { type Cloud, startCloud } from './cloud.ts'
import { idleMemory, type Memory } from './memory.ts'
import type { BenchOptions } from './options.ts'
import type { Folders } from './scene.ts'

const REMOVAL_TIMEOUT_MS = 30_000

/** Everything measured with real machines; launches are in milliseconds, one entry a run. */
export interface RealFigures {
  accelerator: string
  /** Into a VPC where an instance runs already. */
  hearth: Launched[]
  /** Into a VPC without one: its namespace, links, rules and services are made on the way. */
  hearthFirst: Launched[]
  byHand: { diskMs: number; bannerMs: number }[]
  /** Before the launches that are measured, and after them. One instance runs. */
  memory: { before: Memory; after: Memory }
}

/** Measures launches and idle memory of a cloud of its own, in the network namespace that we are in. */
export async function measureReal(
  folders: Folders,
  options: BenchOptions,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<RealFigures> {
  progress('starting the cloud (the accelerator is probed)')
  const cloud = await startCloud(folders.home, 'qemu')
  const { groupId, publicKey } = await prepareAccount(cloud)
  const launch = () => launchByHearth(cloud, { home: folders.home, groupId, instanceType: options.instanceType }, signal)
  const launchAndEnd = async () => {
    const launched = await launch()
    await terminate(cloud, launched.instanceId)
    return launched
  }

  progress('warming up: one launch each')
  const first = await launch()
  const words = commandLineOf(folders.home, first.instanceId)
  await terminate(cloud, first.instanceId)
  const byHand = await prepareByHand(folders, words, publicKey)
  await byHand.launch(signal)

  const hearthFirst: Launched[] = []
  for (let run = 1; run <= options.firstRuns; run++) {
    await waitForEmptyVpc(folders.home)
    hearthFirst.push(await launchAndEnd())
    progress(`first launch in a VPC ${run}/${options.firstRuns}: ${ms(hearthFirst.at(-1)?.bannerMs)}`)
  }
  const resident = await launch()
  const before = await idleMemory(cloud.pids)
  const { hearth, hand } = await alternate(options.runs, launchAndEnd, () => byHand.launch(signal), progress)
  const after = await idleMemory(cloud.pids)
  await endAll(cloud, byHand, resident)
  return { accelerator: words[words.indexOf('-accel') + 1] ?? '?', hearth, hearthFirst, byHand: hand, memory: { before, after } }
}

/** Pairs of runs, each side going first in turn, so that what else happens on the host meets both. */
async function alternate(
  runs: number,
  launch: () => Promise<Launched>,
  launchByHand: () => Promise<{ diskMs: number; bannerMs: number }>,
  progress: (line: string) => void,
) {
  const hearth: Launched[] = []
  const hand: { diskMs: number; bannerMs: number }[] = []
  for (let run = 1; run <= runs; run++) {
    if (run % 2 === 0) hand.push(await launchByHand())
    hearth.push(await launch())
    if (run % 2 === 1) hand.push(await launchByHand())
    progress(`pair ${run}/${runs}: Hearth ${ms(hearth.at(-1)?.bannerMs)}, by hand ${ms(hand.at(-1)?.bannerMs)}`)
  }
  return { hearth, hand }
}

async function endAll(cloud: Cloud, byHand: ByHand, resident: Launched): Promise<void> {
  await byHand.close()
  await terminate(cloud, resident.instanceId)
  await cloud.stop()
}

/** The network of a VPC goes when its last port has gone. */
async function waitForEmptyVpc(home: string): Promise<void> {
  const { netnsPrefix } = createNames(homeIdOf(home))
  await waitFor(systemClock, 'the network of the empty VPC to go', REMOVAL_TIMEOUT_MS, () =>
    !existsSync(NETNS_FOLDER) || !readdirSync(NETNS_FOLDER).some((name) => name.startsWith(netnsPrefix)))
}

function ms(value: number | undefined): string {
  return `${Math.round(value ?? 0)} ms`
}
