import { ApiError } from '../core/errors.ts'
import type { LaunchTemplateTable, LaunchTemplateVersionTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'

/** Longest ClientToken of the operations on templates: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html */
export const MAX_TEMPLATE_TOKEN = 128

/** How a call names one template. */
export interface TemplateName {
  LaunchTemplateId?: string | undefined
  LaunchTemplateName?: string | undefined
}

/**
 * The account's template that a call names, by its id or its name.
 *
 * @throws ApiError MissingParameter, InvalidParameterCombination, InvalidLaunchTemplateId.Malformed and .NotFound,
 *   InvalidLaunchTemplateName.NotFoundException.
 */
export async function requireTemplate(context: Context, { LaunchTemplateId: id, LaunchTemplateName: name }: TemplateName): Promise<LaunchTemplateTable> {
  if (!id && !name) throw missingParameter('LaunchTemplateId or LaunchTemplateName')
  if (id && name) {
    throw new ApiError('InvalidParameterCombination', 'You can specify either a launch template ID or a launch template name, not both.')
  }
  if (id) checkIds(RESOURCE_KINDS.launchTemplate, [id])
  const ofAccount = context.db.selectFrom('launch_templates').selectAll().where('account_id', '=', context.account)
  const row = await (id ? ofAccount.where('template_id', '=', id) : ofAccount.where('name', '=', name ?? '')).executeTakeFirst()
  if (row) return row
  if (id) requireAll(RESOURCE_KINDS.launchTemplate, [id], new Set())
  throw noTemplateNamed(name ?? '')
}

function noTemplateNamed(name: string): ApiError {
  return new ApiError(
    'InvalidLaunchTemplateName.NotFoundException', `The specified launch template, with template name ${name}, does not exist.`)
}

/**
 * The version that a text means: a number, `$Latest` or `$Default`; the default one when nothing is said.
 *
 * @throws ApiError InvalidLaunchTemplateId.VersionNotFound, InvalidParameterValue.
 */
export async function requireVersion(
  { db }: Pick<Context, 'db'>,
  template: LaunchTemplateTable,
  text: string | undefined,
): Promise<LaunchTemplateVersionTable> {
  const version = versionNumber(template, text || '$Default')
  const row = await db
    .selectFrom('launch_template_versions').selectAll()
    .where('template_id', '=', template.template_id).where('version', '=', version).executeTakeFirst()
  if (!row) throw noVersion(template, version)
  return row
}

/** @throws ApiError InvalidParameterValue for what is no version. */
export function versionNumber(template: LaunchTemplateTable, text: string): number {
  if (text === '$Latest') return template.latest_version
  if (text === '$Default') return template.default_version
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  throw new ApiError('InvalidParameterValue', `Invalid launch template version: '${text}'. Specify a version number, $Latest or $Default.`)
}

/** EC2's sentence, whichever way the template was named. */
export function noVersion({ template_id: id }: Pick<LaunchTemplateTable, 'template_id'>, version: number): ApiError {
  return new ApiError(
    'InvalidLaunchTemplateId.VersionNotFound', `Could not find the specified version ${version} for the launch template with ID ${id}.`)
}
