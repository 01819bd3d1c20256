import { execFileSync } from 'node:child_process'
import {
  copyFileSync, chmodSync, constants, existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { systemClock, waitFor } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { homeIdOf } from '../src/home.ts'
import { MachineCgroup } from '../src/hypervisor/qemu/cgroup.ts'
import { buildImage } from '../src/images/build.ts'
import { createNames, NETNS_FOLDER } from '../src/network/linux/names.ts'
import { INSTANCE_ID } from './by-hand.ts'

const END_TIMEOUT_MS = 10_000

/** Where everything of one run is. */
export interface Folders {
  root: string
  /** Home of the cloud that is measured. */
  home: string
  /** Stands for a home in the names of the kernel's objects; holds the machines started by hand. */
  byHand: string
  /** Home of the simulated cloud. */
  sim: string
}

/** The folders under a root that `makeScene` made. */
export function foldersOf(root: string): Folders {
  return { root, home: path.join(root, 'home'), byHand: path.join(root, 'by-hand'), sim: path.join(root, 'sim') }
}

/** Name of the network namespace that stands for the host: nothing of a run reaches the real one. */
export function hostNetnsOf(root: string): string {
  return `bench-${homeIdOf(root)}`
}

/** Makes an empty home, with its image, and a network namespace of its own. */
export async function makeScene(parent: string, progress: (line: string) => void): Promise<Folders> {
  const folders = makeFolders(parent)
  try {
    // Where the tests keep their images, so that none is built twice.
    const cache = process.env.HEARTH_TEST_CACHE ?? path.join(os.tmpdir(), 'hearth-test-cache')
    const image = await buildImage('tiny', { home: cache, clock: systemClock, log: silentLogger, progress })
    const images = path.join(folders.home, 'images')
    mkdirSync(images, { recursive: true })
    for (const file of [image.file, image.file.replace(/\.qcow2$/, '.json')]) {
      copyFileSync(file, path.join(images, path.basename(file)), constants.COPYFILE_FICLONE)
    }
    const netns = hostNetnsOf(folders.root)
    execFileSync('ip', ['netns', 'add', netns])
    execFileSync('ip', ['-n', netns, 'link', 'set', 'dev', 'lo', 'up'])
    return folders
  } catch (error) {
    await removeScene(folders.root)
    throw error
  }
}

/** Names in the kernel come from a hash of the home's path: one that is not taken is found by trying. */
function makeFolders(parent: string): Folders {
  for (;;) {
    const folders = foldersOf(mkdtempSync(path.join(realpathSync(parent), 'hearth-bench-')))
    const isFree = namespacesOf(folders).length === 0 && homeIdOf(folders.home) !== homeIdOf(folders.byHand)
    if (!isFree) {
      rmSync(folders.root, { recursive: true })
      continue
    }
    // The machines' users pass through.
    for (const folder of Object.values(folders) as string[]) {
      mkdirSync(folder, { recursive: true })
      chmodSync(folder, 0o711)
    }
    return folders
  }
}

/** Network namespaces of a run, its VPCs' included. */
function namespacesOf(folders: Folders): string[] {
  const prefixes = [folders.home, folders.byHand].map((folder) => createNames(homeIdOf(folder)).netnsPrefix)
  const all = existsSync(NETNS_FOLDER) ? readdirSync(NETNS_FOLDER) : []
  return all.filter((name) => name === hostNetnsOf(folders.root) || prefixes.some((prefix) => name.startsWith(prefix)))
}

/** Ends and removes everything of a run, however far it came. */
export async function removeScene(root: string): Promise<void> {
  const folders = foldersOf(root)
  await waitFor(systemClock, `the processes in ${root} to end`, END_TIMEOUT_MS, () => {
    const pids = processesIn(root)
    for (const pid of pids) kill(pid)
    return pids.length === 0
  }, 20)
  const instances = path.join(folders.home, 'instances')
  for (const id of existsSync(instances) ? readdirSync(instances) : []) new MachineCgroup(folders.home, id).remove()
  new MachineCgroup(folders.byHand, INSTANCE_ID).remove()
  for (const name of namespacesOf(folders)) execFileSync('ip', ['netns', 'del', name])
  rmSync(root, { recursive: true, force: true })
}

/** Every process of a run works somewhere in its folder: the cloud's in its home, QEMU in its machine's. */
function processesIn(root: string): number[] {
  return readdirSync('/proc').map(Number).filter((pid) => {
    try {
      return pid > 0 && readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '').startsWith(`${root}/`)
    } catch {
      return false
    }
  })
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone by itself.
  }
}
