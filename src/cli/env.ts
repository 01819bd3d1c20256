import type { Command } from 'commander'
import { readCredentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import type { Settings } from '../settings.ts'
import { hearthCommand, newCommand, settingsOf, shellWord, withSettings } from './command.ts'
import type { Terminal } from './terminal.ts'
import { endpointOf, readUpRecord } from './up-record.ts'

/** `hearth env`: what points the AWS CLI and SDKs at this cloud. */
export function addEnv(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'env', 'print the environment that points the AWS CLI and SDKs at this cloud', [
    'eval "$(hearth env)"', 'hearth env --json', '',
    'AWS CLI before 2.13 does not know AWS_ENDPOINT_URL; give it --endpoint-url "$AWS_ENDPOINT_URL".',
  ])
  withSettings(command.option('--json', 'print it as JSON')).action(async () => {
    const environment = await readEnvironment(settingsOf(command))
    terminal.out(command.opts().json ? JSON.stringify(environment, null, 2) : formatEnvironment(environment))
  })
}

/** Variables of the AWS CLI and SDKs; the endpoint is that of the running cloud where one runs. */
export async function readEnvironment(settings: Settings): Promise<Record<string, string>> {
  const credentials = await readCredentials(homePaths(settings.home).credentials)
  if (!credentials) {
    const up = hearthCommand('up', settings)
    throw new Error(`there are no credentials in ${settings.home} yet; the first ${up} makes them`)
  }
  const up = readUpRecord(settings.home)
  const { host, port, region } = up?.isRunning ? up.record.settings : settings
  return {
    AWS_ENDPOINT_URL: endpointOf({ host, port }),
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    // The SDK for JavaScript knows only the first, older clients only the second.
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
  }
}

/** One line for a shell to evaluate. */
export function formatEnvironment(environment: Record<string, string>): string {
  return `export ${Object.entries(environment).map(([name, value]) => `${name}=${shellWord(value)}`).join(' ')}`
}
