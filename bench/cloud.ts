import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { CHILD_FLAGS, childEnvironment, type ChildMessage } from '../src/child-process.ts'
import { createApiClient, type ApiClient } from '../src/cli/api-client.ts'
import { childrenOf, type Child } from '../src/cli/children.ts'
import { prepareZones } from '../src/cli/prepare-zones.ts'
import { textOf } from '../src/cli/xml.ts'
import { systemClock, waitFor } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { systemRandom } from '../src/core/random.ts'
import { readCredentials } from '../src/credentials.ts'
import { ensureHome, homePaths } from '../src/home.ts'
import { chooseEngine, openStore } from '../src/main.ts'
import { readSettings, type Settings } from '../src/settings.ts'

const IMAGE_TIMEOUT_MS = 120_000

/** Processes of a cloud, started as `hearth up` starts them. */
export interface Cloud {
  api: ApiClient
  /** Name ("api", "agent", "us-east-1a", "sim") → pid. */
  pids: Record<string, number>
  imageId: string
  stop(): Promise<void>
}

/** Starts the processes of a home and waits until the tiny image is registered. */
export async function startCloud(home: string, engine: 'qemu' | 'sim'): Promise<Cloud> {
  const settings = readSettings({ home, engine, instant: engine === 'sim', port: 0, firstInstance: false }, {})
  await ensureHome(home)
  const chosen = await chooseEngine(settings, { clock: systemClock, log: silentLogger })
  const store = await openStore(settings)
  await prepareZones(store, settings, { random: systemRandom, nowMs: systemClock.now() })
  const children = await Promise.all(childrenOf(settings, chosen).map((child) => startChild(child, settings)))
  await store.close()
  const port = children.find((child) => child.port !== undefined)?.port
  const credentials = await readCredentials(homePaths(home).credentials)
  if (port === undefined || !credentials) throw new Error(`the cloud in ${home} has no API`)
  const api = createApiClient(`http://127.0.0.1:${port}`, { credentials, region: settings.region, clock: systemClock })
  const imageId = await waitFor(systemClock, 'the tiny image to be registered', IMAGE_TIMEOUT_MS, async () =>
    textOf(await api.call('DescribeImages', { 'Filter.1.Name': 'name', 'Filter.1.Value.1': '*tiny*' }), 'imageId'))
  return {
    api, imageId,
    pids: Object.fromEntries(children.map(({ name, process }) => [name, process.pid ?? 0])),
    async stop() {
      await Promise.all(children.map(async ({ process }) => {
        const ended = new Promise((resolve) => process.once('exit', resolve))
        if (process.exitCode === null && process.kill('SIGTERM')) await ended
      }))
    },
  }
}

interface StartedChild {
  name: string
  process: ChildProcess
  port: number | undefined
}

async function startChild(child: Child, settings: Settings): Promise<StartedChild> {
  const { name, script, orders } = child
  const file = path.join(settings.home, `${name}.log`)
  const log = openSync(file, 'a')
  // The working directory is how the end of the benchmarks finds what must not be left behind.
  const started = spawn(process.execPath, [...CHILD_FLAGS, script], {
    cwd: settings.home, stdio: ['ignore', log, log, 'ipc'],
    env: { ...process.env, ...childEnvironment(settings, orders) },
  })
  closeSync(log)
  const message = await new Promise<ChildMessage>((resolve) => {
    started.once('message', (said) => resolve(said as ChildMessage))
    started.once('exit', (code) => resolve({ type: 'failed', message: `it ended with status ${code}` }))
  })
  if (message.type === 'ready') return { name, process: started, port: message.port }
  const tail = (await readFile(file, 'utf8')).trim().split('\n').slice(-5).join('\n')
  throw new Error(`the ${name} process did not start: ${message.message}\n${tail}`)
}
