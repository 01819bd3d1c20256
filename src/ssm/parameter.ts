import type { Parameter } from '@aws-sdk/client-ssm'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { imageDoc } from '../model/image.ts'
import type { ImageTable } from '../store/schema.ts'
import { PUBLIC_NAMES } from './public-names.ts'

/** Recipes whose images answer for systems of which there is none, the most like a usual server first. */
const STAND_INS = ['debian-12', 'tiny']

/** Images built here, by their recipe, oldest first. */
export type LocalImages = ReadonlyMap<string, ImageTable[]>

/** The images that parameters may answer with. */
export async function localImages({ db }: Pick<Context, 'db'>): Promise<LocalImages> {
  const rows = await db
    .selectFrom('images').selectAll()
    .where('account_id', '=', PROVIDER_ACCOUNT).where('state', '=', 'available').where('is_public', '=', 1)
    .where('architecture', '=', 'x86_64')
    .orderBy('created_ms').orderBy('image_id').execute()
  const images = new Map<string, ImageTable[]>()
  for (const row of rows) {
    const { recipe } = imageDoc(row)
    if (recipe !== null) images.set(recipe, [...(images.get(recipe) ?? []), row])
  }
  return images
}

/**
 * A public parameter by its name or ARN, with or without a selector (":3", ":latest"). Its versions
 * are the local images of the system that it names, oldest first; the newest is the latest. Where no
 * image of that system was built, one of another stands in, which the log of the call says.
 *
 * @throws ApiError ParameterNotFound; ParameterVersionNotFound.
 */
export function findParameter(
  { region, remark }: Pick<Context, 'region' | 'remark'>,
  images: LocalImages,
  wanted: string,
): Parameter {
  const local = wanted.startsWith(`${arnPrefix(region)}/`) ? wanted.slice(arnPrefix(region).length) : wanted
  const [name = '', selector, ...rest] = local.split(':')
  const recipe = recipeFor(images, name)
  const versions = (recipe && images.get(recipe)) || []
  if (versions.length === 0 || rest.length > 0) throw notFound(wanted)
  const version = versionOf(name, selector, versions.length)
  const image = versions[version - 1]
  if (!image) throw versionNotFound(name, version)
  const system = PUBLIC_NAMES.get(name)
  if (recipe !== system) remark?.(`${image.name} (${image.image_id}) stands in for ${system} at ${name}`)
  return {
    Name: name, Type: 'String', Value: image.image_id, Version: version,
    ...(selector === undefined ? {} : { Selector: `:${selector}` }),
    LastModifiedDate: new Date(image.created_ms), ARN: arnPrefix(region) + name, DataType: 'aws:ec2:image',
  }
}

/** The recipe whose images a name is answered with; undefined for no public name, or without any image. */
export function recipeFor(images: LocalImages, name: string): string | undefined {
  const system = PUBLIC_NAMES.get(name)
  return system && [system, ...STAND_INS].find((each) => images.has(each))
}

/** What a selector means; the one label that there is, latest, is every name's newest version. */
function versionOf(name: string, selector: string | undefined, latest: number): number {
  if (selector === undefined || selector === 'latest') return latest
  if (/^[1-9]\d{0,8}$/.test(selector)) return Number(selector)
  throw versionNotFound(name, selector)
}

function arnPrefix(region: string): string {
  return `arn:aws:ssm:${region}::parameter`
}

function notFound(name: string): ApiError {
  return new ApiError('ParameterNotFound', `There is no parameter ${name}; Hearth has public names of AMIs only.`)
}

function versionNotFound(name: string, version: string | number): ApiError {
  const message = `Systems Manager could not find version ${version} of ${name}. Verify the version and try again.`
  return new ApiError('ParameterVersionNotFound', message)
}
