import { systemClock } from '../core/clock.ts'
import { readCredentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import type { Settings } from '../settings.ts'
import { createApiClient, type ApiClient } from './api-client.ts'
import { hearthCommand } from './command.ts'
import { endpointOf, readUpRecord, settingsInForce } from './up-record.ts'

/**
 * The cloud that runs in the home, for commands that call its API with the home's own key.
 *
 * @throws Error that says how to start one.
 */
export async function openRunningCloud(asked: Settings): Promise<{ settings: Settings; api: ApiClient }> {
  const up = readUpRecord(asked.home)
  if (!up?.isRunning || !up.record.isReady) {
    throw new Error(`no cloud runs in ${asked.home}, which would do this; start one: ${hearthCommand('up', asked)}`)
  }
  const settings = settingsInForce(asked)
  const credentials = await readCredentials(homePaths(settings.home).credentials)
  if (!credentials) throw new Error(`there are no credentials in ${settings.home}`)
  return { settings, api: createApiClient(endpointOf(settings), { credentials, region: settings.region, clock: systemClock }) }
}
