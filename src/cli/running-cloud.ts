import { systemClock } from '../core/clock.ts'
import { readCredentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import { cloudHomeOf, type AnySettings } from '../realm.ts'
import { createApiClient, type ApiClient } from './api-client.ts'
import { hearthCommand } from './command.ts'
import { endpointOf, readUpRecord, settingsInForce } from './up-record.ts'

/**
 * The cloud that runs in the home, for commands that call its API with the home's own key.
 *
 * @throws Error that says how to start one.
 */
export async function openRunningCloud(asked: AnySettings): Promise<{ settings: AnySettings; api: ApiClient }> {
  const home = cloudHomeOf(asked)
  const up = readUpRecord(home)
  if (!up?.isRunning || !up.record.isReady) {
    throw new Error(`no cloud runs in ${home}, which would do this; start one: ${hearthCommand('up', { home })}`)
  }
  const settings = settingsInForce(asked)
  const credentials = await readCredentials(homePaths(home).credentials)
  if (!credentials) throw new Error(`there are no credentials in ${home}`)
  return { settings, api: createApiClient(endpointOf(settings), { credentials, region: settings.region, clock: systemClock }) }
}
