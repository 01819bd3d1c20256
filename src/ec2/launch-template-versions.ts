import type {
  CreateLaunchTemplateVersionRequest, CreateLaunchTemplateVersionResult, DeleteLaunchTemplateVersionsRequest,
  DeleteLaunchTemplateVersionsResult, DescribeLaunchTemplateVersionsRequest, DescribeLaunchTemplateVersionsResult,
  LaunchTemplateVersion, RequestLaunchTemplateData, ResponseError,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { launchTemplateVersionToWire, versionDoc } from '../model/launch-template.ts'
import { principalOf, rootArn } from '../model/principal.ts'
import { resolveImageId } from '../ssm/resolve-image.ts'
import type { LaunchTemplateTable, LaunchTemplateVersionTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { basedOn, checkTemplateData } from './launch-template-data-checks.ts'
import { MAX_TEMPLATE_TOKEN, noVersion, requireTemplate, requireVersion, versionNumber } from './launch-template-rows.ts'
import type { PrepareAmbient } from './operation.ts'
import { paginate } from './pagination.ts'
import { missingParameter } from './parameters.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html */
const MAX_DELETED = 200
const MAX_DESCRIPTION_LENGTH = 255

/** EC2's sentence to who describes versions without saying of which template, quotation marks included. */
const OF_ALL =
  'To describe the launch template data for all your launch templates, for ‘--versions’ specify ‘$Latest’, ‘$Default’, or both, and omit '
  + '‘--launch-template-id’, ‘--launch-template-name’, and version numbers. To describe the launch template data for a specific launch '
  + 'template, specify ‘--launch-template-id’ or ‘--launch-template-name’, and for ‘--versions’ specify one or more of the following '
  + 'values: ‘$Latest’, ‘$Default’, or one or more version numbers.'

interface NewVersion {
  version: number
  description: string | undefined
  data: RequestLaunchTemplateData
  /** Of whoever makes it. */
  callerArn: string
}

/** Who makes a template, or a version of one: other regions than the home region do not know keys. */
export async function prepareCallerArn(_input: object, { account, accessKeyId, home }: PrepareAmbient): Promise<string> {
  return home.read(async (db) => (await principalOf(db, account, accessKeyId)).arn)
}

/** Writes a version's row. */
export async function insertVersion(
  { db, nowMs }: Context,
  template: LaunchTemplateTable,
  { version, description, data, callerArn }: NewVersion,
): Promise<LaunchTemplateVersionTable> {
  if ((description ?? '').length > MAX_DESCRIPTION_LENGTH) {
    throw new ApiError('InvalidParameterValue', `The version description may have at most ${MAX_DESCRIPTION_LENGTH} characters.`)
  }
  const row = {
    template_id: template.template_id, version, created_ms: nowMs,
    doc: JSON.stringify({ createdBy: callerArn, description: description || null, data }),
  }
  await db.insertInto('launch_template_versions').values(row).execute()
  return row
}

/**
 * CreateLaunchTemplateVersion: what is said, over what the source version says where one is named. Numbers go on where they
 * were, whatever was deleted.
 */
export async function createLaunchTemplateVersion(
  context: Context,
  input: CreateLaunchTemplateVersionRequest,
  callerArn = rootArn(context.account),
): Promise<CreateLaunchTemplateVersionResult> {
  const { db } = context
  const template = await requireTemplate(context, input)
  const own = checkTemplateData(input.LaunchTemplateData)
  const next = template.next_version
  const earlier = await claimToken(
    context, `CreateLaunchTemplateVersion ${template.template_id}`, input, `${template.template_id} ${next}`, MAX_TEMPLATE_TOKEN)
  if (earlier !== undefined) {
    const row = await requireVersion(context, template, earlier.split(' ')[1])
    return { LaunchTemplateVersion: await resolved(context, input, launchTemplateVersionToWire(template, row)) }
  }
  const data = input.SourceVersion ? basedOn(versionDoc(await requireVersion(context, template, input.SourceVersion)).data, own) : own
  const row = await insertVersion(context, template, { version: next, description: input.VersionDescription, data, callerArn })
  await db.updateTable('launch_templates').set({ latest_version: next, next_version: next + 1 }).where('template_id', '=', template.template_id).execute()
  return { LaunchTemplateVersion: await resolved(context, input, launchTemplateVersionToWire({ ...template, latest_version: next }, row)) }
}

/** With ResolveAlias an image that is named by a parameter of Systems Manager is shown by its id. */
async function resolved(
  context: Context,
  { ResolveAlias: isAsked }: { ResolveAlias?: boolean | undefined },
  version: LaunchTemplateVersion,
): Promise<LaunchTemplateVersion> {
  const { LaunchTemplateData: data } = version
  if (!isAsked || !data?.ImageId) return version
  return { ...version, LaunchTemplateData: { ...data, ImageId: await resolveImageId(context, data.ImageId) } }
}

/**
 * DescribeLaunchTemplateVersions: those of one template that are named, or lie between two, or all; or, where no template is
 * named, the latest or default ones of all. Newest first.
 */
export async function describeLaunchTemplateVersions(
  context: Context,
  input: DescribeLaunchTemplateVersionsRequest,
): Promise<DescribeLaunchTemplateVersionsResult> {
  const found = input.LaunchTemplateId || input.LaunchTemplateName ? await versionsOfOne(context, input) : await versionsOfAll(context, input)
  const matches = compileFilters(input.Filters, FIELDS)
  const { page, nextToken } = paginate(found.filter((each) => matches(each.wire)), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 200, operation: 'DescribeLaunchTemplateVersions',
    keyOf: ({ row }) => `${row.template_id}/${String(Number.MAX_SAFE_INTEGER - row.version).padStart(16, '0')}`,
  })
  const versions: LaunchTemplateVersion[] = []
  for (const { wire } of page) versions.push(await resolved(context, input, wire))
  return { LaunchTemplateVersions: versions, NextToken: nextToken }
}

interface FoundVersion {
  row: LaunchTemplateVersionTable
  wire: LaunchTemplateVersion
}

async function versionsOfOne(context: Context, input: DescribeLaunchTemplateVersionsRequest): Promise<FoundVersion[]> {
  const template = await requireTemplate(context, input)
  const asked = input.Versions ?? []
  if (asked.length > 0 && (input.MinVersion || input.MaxVersion)) {
    throw new ApiError('InvalidParameterCombination', 'You cannot specify both versions and a minimum or maximum version.')
  }
  const rows = await context.db
    .selectFrom('launch_template_versions').selectAll().where('template_id', '=', template.template_id).execute()
  const wanted = asked.map((each) => versionNumber(template, each))
  const missing = wanted.find((version) => !rows.some((row) => row.version === version))
  if (missing !== undefined) throw noVersion(template, missing)
  const least = input.MinVersion ? versionNumber(template, input.MinVersion) : 1
  const most = input.MaxVersion ? versionNumber(template, input.MaxVersion) : template.latest_version
  return rows
    .filter((row) => (asked.length > 0 ? wanted.includes(row.version) : row.version >= least && row.version <= most))
    .map((row) => ({ row, wire: launchTemplateVersionToWire(template, row) }))
}

async function versionsOfAll({ db, account }: Context, input: DescribeLaunchTemplateVersionsRequest): Promise<FoundVersion[]> {
  const asked = input.Versions ?? []
  if (asked.length === 0) throw new ApiError('MissingParameter', OF_ALL)
  if (asked.some((each) => each !== '$Latest' && each !== '$Default')) {
    throw new ApiError('InvalidParameterValue', OF_ALL)
  }
  const templates = await db.selectFrom('launch_templates').selectAll().where('account_id', '=', account).execute()
  const rows = await db
    .selectFrom('launch_template_versions').innerJoin('launch_templates', 'launch_templates.template_id', 'launch_template_versions.template_id')
    .selectAll('launch_template_versions').where('account_id', '=', account).execute()
  return templates.flatMap((template) => {
    const wanted = new Set(asked.map((each) => versionNumber(template, each)))
    return rows.filter((row) => row.template_id === template.template_id && wanted.has(row.version))
      .map((row) => ({ row, wire: launchTemplateVersionToWire(template, row) }))
  })
}

const FIELDS: FilterFields<LaunchTemplateVersion> = {
  'create-time': ({ CreateTime: time }) => time?.toISOString(),
  'ebs-optimized': ({ LaunchTemplateData: data }) => text(data?.EbsOptimized),
  'http-endpoint': ({ LaunchTemplateData: data }) => data?.MetadataOptions?.HttpEndpoint,
  'http-tokens': ({ LaunchTemplateData: data }) => data?.MetadataOptions?.HttpTokens,
  'host-resource-group-arn': ({ LaunchTemplateData: data }) => data?.Placement?.HostResourceGroupArn,
  'iam-instance-profile': ({ LaunchTemplateData: data }) => data?.IamInstanceProfile?.Arn,
  'image-id': ({ LaunchTemplateData: data }) => data?.ImageId,
  'instance-type': ({ LaunchTemplateData: data }) => data?.InstanceType,
  'is-default-version': ({ DefaultVersion: isDefault }) => text(isDefault),
  'kernel-id': ({ LaunchTemplateData: data }) => data?.KernelId,
  'license-configuration-arn': ({ LaunchTemplateData: data }) =>
    data?.LicenseSpecifications?.flatMap((each) => each.LicenseConfigurationArn ?? []),
  'network-card-index': ({ LaunchTemplateData: data }) =>
    data?.NetworkInterfaces?.flatMap((each) => text(each.NetworkCardIndex) ?? []),
  'ram-disk-id': ({ LaunchTemplateData: data }) => data?.RamDiskId,
  ...withoutValue('http-protocol-ipv4'),
}

/** DeleteLaunchTemplateVersions: each by itself; the default one cannot go, and what fails is told. */
export async function deleteLaunchTemplateVersions(
  context: Context,
  input: DeleteLaunchTemplateVersionsRequest,
): Promise<DeleteLaunchTemplateVersionsResult> {
  const template = await requireTemplate(context, input)
  const asked = input.Versions ?? []
  if (asked.length === 0) throw missingParameter('LaunchTemplateVersion')
  if (asked.length > MAX_DELETED) throw new ApiError('InvalidParameterValue', `At most ${MAX_DELETED} versions can be deleted in one call.`)
  const named = { LaunchTemplateId: template.template_id, LaunchTemplateName: template.name }
  const result = { done: [] as object[], failed: [] as object[] }
  for (const version of asked.map((each) => versionNumber(template, each))) {
    const error = await deleteVersion(context, template, version)
    if (error) result.failed.push({ ...named, VersionNumber: version, ResponseError: error })
    else result.done.push({ ...named, VersionNumber: version })
  }
  return { SuccessfullyDeletedLaunchTemplateVersions: result.done, UnsuccessfullyDeletedLaunchTemplateVersions: result.failed }
}

async function deleteVersion({ db }: Context, template: LaunchTemplateTable, version: number): Promise<ResponseError | undefined> {
  if (version === template.default_version) {
    return { Code: 'unexpectedError', Message: `Version ${version} is the default version and cannot be deleted; make another one the default first.` }
  }
  const deleted = await db
    .deleteFrom('launch_template_versions').where('template_id', '=', template.template_id).where('version', '=', version).executeTakeFirst()
  if (deleted.numDeletedRows === 0n) return { Code: 'launchTemplateVersionDoesNotExist', Message: noVersion(template, version).message }
  const { latest } = await db
    .selectFrom('launch_template_versions').select((eb) => eb.fn.max('version').as('latest'))
    .where('template_id', '=', template.template_id).executeTakeFirstOrThrow()
  await db.updateTable('launch_templates').set({ latest_version: Number(latest) }).where('template_id', '=', template.template_id).execute()
  return undefined
}
