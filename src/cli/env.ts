import type { Command } from 'commander'
import { readCredentials, type Credentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import { cloudHomeOf, type AnySettings } from '../realm.ts'
import { credentialsOf, DEFAULT_NAME } from './accounts.ts'
import { hearthCommand, newCommand, settingsOf, shellWord, withSettings } from './command.ts'
import type { Terminal } from './terminal.ts'
import { endpointOf, readUpRecord } from './up-record.ts'

/** `hearth env`: what points the AWS CLI and SDKs at this cloud. */
export function addEnv(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'env', 'print the environment that points the AWS CLI and SDKs at this cloud', [
    'eval "$(hearth env)"', 'hearth env --json', 'eval "$(hearth env --account team-b)"', '',
    'AWS CLI before 2.13 does not know AWS_ENDPOINT_URL; give it --endpoint-url "$AWS_ENDPOINT_URL".',
  ])
  command.option('--account <name>', 'the account to be, of those that hearth account list has')
  withSettings(command.option('--json', 'print it as JSON')).action(async () => {
    const { account } = command.opts<{ account?: string }>()
    const environment = await readEnvironment(settingsOf(command), account)
    terminal.out(command.opts().json ? JSON.stringify(environment, null, 2) : formatEnvironment(environment))
  })
}

/** Variables of the AWS CLI and SDKs; the endpoint is that of the running cloud where one runs. */
export async function readEnvironment(settings: AnySettings, account = DEFAULT_NAME): Promise<Record<string, string>> {
  const credentials = account === DEFAULT_NAME ? await ownCredentials(settings) : await credentialsOf(settings, account)
  const up = readUpRecord(cloudHomeOf(settings))
  const { host, port, region: homeRegion } = up?.isRunning ? up.record.settings : settings
  const region = settings.cloudHome === undefined ? homeRegion : settings.region
  const endpoint = endpointOf({ host, port })
  return {
    AWS_ENDPOINT_URL: endpoint,
    // Ansible's modules: boto3 before 1.28, which Debian 12 has, does not know the first.
    AWS_URL: endpoint,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    // The SDK for JavaScript knows only the first, older clients only the second.
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
  }
}

async function ownCredentials(settings: AnySettings): Promise<Credentials> {
  const home = cloudHomeOf(settings)
  const credentials = await readCredentials(homePaths(home).credentials)
  if (credentials) return credentials
  const up = hearthCommand('up', { home })
  throw new Error(`there are no credentials in ${home} yet; the first ${up} makes them`)
}

/** One line for a shell to evaluate. */
export function formatEnvironment(environment: Record<string, string>): string {
  return `export ${Object.entries(environment).map(([name, value]) => `${name}=${shellWord(value)}`).join(' ')}`
}
