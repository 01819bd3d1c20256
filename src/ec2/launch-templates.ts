import type {
  CreateLaunchTemplateRequest, CreateLaunchTemplateResult, DeleteLaunchTemplateRequest, DeleteLaunchTemplateResult,
  DescribeLaunchTemplatesRequest, DescribeLaunchTemplatesResult, ModifyLaunchTemplateRequest, ModifyLaunchTemplateResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { launchTemplateToWire } from '../model/launch-template.ts'
import { rootArn } from '../model/principal.ts'
import type { LaunchTemplateTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters } from './filters.ts'
import { checkTemplateData } from './launch-template-data-checks.ts'
import { insertVersion } from './launch-template-versions.ts'
import { MAX_TEMPLATE_TOKEN, requireTemplate, requireVersion, versionNumber } from './launch-template-rows.ts'
import { paginate, refuseIdsWithMaxResults } from './pagination.ts'
import { invalidValue, missingParameter, refuseParameters } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html */
const NAME = /^[a-zA-Z0-9().\-/_]{3,128}$/

/**
 * CreateLaunchTemplate: a template with its first version, which is its default. What it says is checked when it is used. It is by
 * `callerArn`, or else by the account's root user.
 */
export async function createLaunchTemplate(
  context: Context,
  input: CreateLaunchTemplateRequest,
  callerArn = rootArn(context.account),
): Promise<CreateLaunchTemplateResult> {
  refuseParameters(input, ['Operator'])
  const { db, account, random, nowMs } = context
  const name = checkName(input.LaunchTemplateName)
  const data = checkTemplateData(input.LaunchTemplateData)
  const tags = parseTagSpecifications(input.TagSpecifications, ['launch-template']).get('launch-template') ?? []
  const id = newId(random, 'lt')
  const earlier = await claimToken(context, 'CreateLaunchTemplate', input, id, MAX_TEMPLATE_TOKEN)
  if (earlier !== undefined) return { LaunchTemplate: await answer(context, await requireTemplate(context, { LaunchTemplateId: earlier })) }
  const existing = await db
    .selectFrom('launch_templates').select('template_id').where('account_id', '=', account).where('name', '=', name).executeTakeFirst()
  if (existing) throw new ApiError('InvalidLaunchTemplateName.AlreadyExistsException', 'Launch template name already in use.')
  const row: LaunchTemplateTable = {
    template_id: id, account_id: account, name, default_version: 1, latest_version: 1, next_version: 2, created_ms: nowMs,
    doc: JSON.stringify({ createdBy: callerArn }),
  }
  await db.insertInto('launch_templates').values(row).execute()
  await insertTags(db, account, 'launch-template', id, tags)
  await insertVersion(context, row, { version: 1, description: input.VersionDescription, data, callerArn })
  return { LaunchTemplate: await answer(context, row) }
}

async function answer({ db }: Context, row: LaunchTemplateTable) {
  return launchTemplateToWire(row, toWireTags((await tagsOf(db, [row.template_id])).get(row.template_id)))
}

function checkName(name: string | undefined): string {
  if (!name) throw missingParameter('LaunchTemplateName')
  if (NAME.test(name)) return name
  throw new ApiError(
    'InvalidLaunchTemplateName.MalformedException',
    'A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.',
  )
}

/** DescribeLaunchTemplates: those named, or all of the account, by name. */
export async function describeLaunchTemplates(
  { db, account }: Context,
  input: DescribeLaunchTemplatesRequest,
): Promise<DescribeLaunchTemplatesResult> {
  const ids = input.LaunchTemplateIds ?? []
  const names = input.LaunchTemplateNames ?? []
  refuseIdsWithMaxResults([...ids, ...names], input.MaxResults, 'launchTemplateIdsSet')
  checkIds(RESOURCE_KINDS.launchTemplate, ids)
  const all = await db.selectFrom('launch_templates').selectAll().where('account_id', '=', account).execute()
  requireAll(RESOURCE_KINDS.launchTemplate, ids, new Set(all.map((row) => row.template_id)))
  if (!names.every((name) => all.some((row) => row.name === name))) {
    throw new ApiError(
      'InvalidLaunchTemplateName.NotFoundException', 'At least one of the launch templates specified in the request does not exist.')
  }
  const wanted = all.filter((row) => ids.length + names.length === 0 || ids.includes(row.template_id) || names.includes(row.name))
  const tags = await tagsOf(db, wanted.map((row) => row.template_id))
  const matches = compileFilters<LaunchTemplateTable>(input.Filters, {
    'create-time': (row) => new Date(row.created_ms).toISOString(),
    'launch-template-name': (row) => row.name,
  }, (row) => tags.get(row.template_id) ?? [])
  const { page, nextToken } = paginate(wanted.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 200, operation: 'DescribeLaunchTemplates',
    keyOf: (row) => row.name,
  })
  return { LaunchTemplates: page.map((row) => launchTemplateToWire(row, toWireTags(tags.get(row.template_id)))), NextToken: nextToken }
}

/** ModifyLaunchTemplate: another version becomes the default. A call that is repeated with its token changes nothing any more. */
export async function modifyLaunchTemplate(
  context: Context,
  input: ModifyLaunchTemplateRequest,
): Promise<ModifyLaunchTemplateResult> {
  if (input.LaunchTemplateId && input.LaunchTemplateName) {
    throw new ApiError('InvalidParameterCombination', 'Either provide launch template ID or launch template name to modify the template.')
  }
  const template = await requireTemplate(context, input)
  if (!input.DefaultVersion) throw missingParameter('SetDefaultVersion')
  if (input.DefaultVersion === '$Default') throw invalidValue('SetDefaultVersion', input.DefaultVersion)
  const id = template.template_id
  const earlier = await claimToken(context, `ModifyLaunchTemplate ${id}`, input, id, MAX_TEMPLATE_TOKEN)
  if (earlier !== undefined) return { LaunchTemplate: await answer(context, template) }
  const version = await requireDefault(context, template, input.DefaultVersion)
  await context.db
    .updateTable('launch_templates').set({ default_version: version }).where('template_id', '=', id).execute()
  return { LaunchTemplate: await answer(context, { ...template, default_version: version }) }
}

/** The version that is to be the default one. @throws ApiError with this call's own sentence for one that is not there. */
async function requireDefault(context: Context, template: LaunchTemplateTable, text: string): Promise<number> {
  const found = await requireVersion(context, template, text).catch((error: unknown) => {
    if (!(error instanceof ApiError && error.code === 'InvalidLaunchTemplateId.VersionNotFound')) throw error
    const number = versionNumber(template, text)
    throw new ApiError(error.code, `The launch template version ${number} is not found for the specified launch template.`)
  })
  return found.version
}

/** DeleteLaunchTemplate: with all of its versions. Instances launched from it stay as they are. */
export async function deleteLaunchTemplate(
  context: Context,
  input: DeleteLaunchTemplateRequest,
): Promise<DeleteLaunchTemplateResult> {
  const template = await requireTemplate(context, input)
  const id = template.template_id
  const wire = await answer(context, template)
  await context.db.deleteFrom('launch_template_versions').where('template_id', '=', id).execute()
  await context.db.deleteFrom('launch_templates').where('template_id', '=', id).execute()
  await deleteTagsOf(context.db, [id])
  // Those of its versions name these, too.
  await context.db.deleteFrom('client_tokens').where('account_id', '=', context.account).where('resource_id', 'like', `${id}%`).execute()
  return { LaunchTemplate: wire }
}
