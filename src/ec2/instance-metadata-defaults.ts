import type {
  GetInstanceMetadataDefaultsRequest, GetInstanceMetadataDefaultsResult, ModifyInstanceMetadataDefaultsRequest,
  ModifyInstanceMetadataDefaultsResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { setAccountSetting } from '../model/account-setting.ts'
import type { MetadataOptions } from '../model/instance.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'

/** What an account prefers for the metadata service of new instances; what it does not name it leaves open. */
export type MetadataDefaults = Partial<MetadataOptions>

/** What an account has settled for new instances. */
export interface MetadataSettings {
  defaults: MetadataDefaults
  /** No guest may do without tokens. */
  areTokensEnforced: boolean
}

/** Settings of an account by parameter, and the values that each takes beside `no-preference`. */
const SETTINGS = {
  HttpTokens: { name: 'metadata.http-tokens', values: ['optional', 'required'] },
  HttpEndpoint: { name: 'metadata.http-endpoint', values: ['disabled', 'enabled'] },
  InstanceMetadataTags: { name: 'metadata.instance-tags', values: ['disabled', 'enabled'] },
  HttpTokensEnforced: { name: 'metadata.http-tokens-enforced', values: ['disabled', 'enabled'] },
} as const
const HOP_LIMIT = 'metadata.hop-limit'

type Setting = keyof typeof SETTINGS

const settingsOf = prepared((db, account: string) =>
  db.selectFrom('account_settings').select(['name', 'value']).where('account_id', '=', account))

/** The settings that the account has, by name. */
async function readSettings(db: Db, account: string): Promise<Map<string, string>> {
  const rows = await settingsOf(db, account)
  return new Map(rows.map((row) => [row.name, row.value]))
}

function valueOf<Name extends Setting>(
  settings: Map<string, string>,
  setting: Name,
): (typeof SETTINGS)[Name]['values'][number] | undefined {
  const { name, values }: { name: string; values: readonly (typeof SETTINGS)[Name]['values'][number][] } = SETTINGS[setting]
  return values.find((value) => value === settings.get(name))
}

/**
 * What the account prefers for new instances. It stands after what a launch asks for, and before
 * what the image and EC2 would have:
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
 */
export async function metadataSettings(db: Db, account: string): Promise<MetadataSettings> {
  const settings = await readSettings(db, account)
  const hopLimit = settings.get(HOP_LIMIT)
  const httpTokens = valueOf(settings, 'HttpTokens')
  const httpEndpoint = valueOf(settings, 'HttpEndpoint')
  const instanceMetadataTags = valueOf(settings, 'InstanceMetadataTags')
  const defaults = {
    ...(httpTokens ? { httpTokens } : {}),
    ...(hopLimit ? { httpPutResponseHopLimit: Number(hopLimit) } : {}),
    ...(httpEndpoint ? { httpEndpoint } : {}),
    ...(instanceMetadataTags ? { instanceMetadataTags } : {}),
  }
  return { defaults, areTokensEnforced: valueOf(settings, 'HttpTokensEnforced') === 'enabled' }
}

/**
 * Refuses options that let guests do without tokens, where the account insists on them.
 *
 * @throws ApiError UnsupportedOperation.
 */
export function checkTokensEnforced({ areTokensEnforced }: MetadataSettings, options: MetadataOptions): void {
  if (options.httpTokens === 'required' || !areTokensEnforced) return
  throw new ApiError(
    'UnsupportedOperation',
    "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. Either launch the " +
      'instance with httpTokens=required or contact your account owner to disable httpTokensEnforced using the ' +
      'ModifyInstanceMetadataDefaults API or the account settings in the EC2 console.',
  )
}

/** GetInstanceMetadataDefaults: what the account set; what it has no preference for is left out. */
export async function getInstanceMetadataDefaults(
  { db, account }: Context,
  _input: GetInstanceMetadataDefaultsRequest,
): Promise<GetInstanceMetadataDefaultsResult> {
  const settings = await readSettings(db, account)
  const hopLimit = settings.get(HOP_LIMIT)
  return {
    AccountLevel: {
      HttpTokens: valueOf(settings, 'HttpTokens'),
      HttpPutResponseHopLimit: hopLimit === undefined ? undefined : Number(hopLimit),
      HttpEndpoint: valueOf(settings, 'HttpEndpoint'),
      InstanceMetadataTags: valueOf(settings, 'InstanceMetadataTags'),
      HttpTokensEnforced: valueOf(settings, 'HttpTokensEnforced'),
      ManagedBy: 'account',
    },
  }
}

/** ModifyInstanceMetadataDefaults: `no-preference` (for hops, -1) takes a setting back; what is not named stays. */
export async function modifyInstanceMetadataDefaults(
  { db, account }: Context,
  input: ModifyInstanceMetadataDefaultsRequest,
): Promise<ModifyInstanceMetadataDefaultsResult> {
  const changes = new Map<string, string | null>()
  for (const [parameter, { name, values }] of Object.entries(SETTINGS) as [Setting, (typeof SETTINGS)[Setting]][]) {
    const value = checkEnum(parameter, input[parameter], [...values, 'no-preference'])
    if (value !== undefined) changes.set(name, value === 'no-preference' ? null : value)
  }
  const hopLimit = input.HttpPutResponseHopLimit
  if (hopLimit !== undefined) {
    if (hopLimit !== -1 && (hopLimit < 1 || hopLimit > 64)) {
      throw invalidValue('HttpPutResponseHopLimit', hopLimit, 'It must be between 1 and 64, or -1 for no preference.')
    }
    changes.set(HOP_LIMIT, hopLimit === -1 ? null : String(hopLimit))
  }
  if (changes.size === 0) throw missingParameter('HttpTokens, HttpPutResponseHopLimit, HttpEndpoint or InstanceMetadataTags')
  for (const [name, value] of changes) await setAccountSetting(db, account, name, value)
  return { Return: true }
}
