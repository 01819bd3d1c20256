import type {
  GetParameterRequest, GetParameterResult, GetParametersByPathRequest, GetParametersByPathResult, GetParametersRequest,
  GetParametersResult, Parameter,
} from '@aws-sdk/client-ssm'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { refuseParameters } from '../ec2/parameters.ts'
import { Constraints } from '../protocol/constraints.ts'
import { findParameter, localImages, recipeFor } from './parameter.ts'
import { PUBLIC_NAMES } from './public-names.ts'

const MAX_NAME_LENGTH = 2048
/** Most parameters of one answer, and of one page. */
const MAX_PARAMETERS = 10

/**
 * GetParameter: a public name of an AMI. None is encrypted, so that WithDecryption changes nothing.
 * https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
 */
export async function getParameter(context: Context, input: GetParameterRequest): Promise<GetParameterResult> {
  const { Name: name = '' } = input
  new Constraints().text('name', name, { min: 1, max: MAX_NAME_LENGTH }).done('ValidationException')
  return { Parameter: findParameter(context, await localImages(context), name) }
}

/** GetParameters: up to ten names; those that nothing is found for are listed, not an error. */
export async function getParameters(context: Context, input: GetParametersRequest): Promise<GetParametersResult> {
  const { Names: names = [] } = input
  const constraints = new Constraints().count('names', names, 1, MAX_PARAMETERS)
  for (const name of names) constraints.text('names', name, { min: 1, max: MAX_NAME_LENGTH })
  constraints.done('ValidationException')
  const images = await localImages(context)
  const found: Parameter[] = []
  const invalid: string[] = []
  for (const name of new Set(names)) {
    try {
      found.push(findParameter(context, images, name))
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      invalid.push(name)
    }
  }
  return { Parameters: found, InvalidParameters: invalid }
}

/**
 * GetParametersByPath: the parameters of a level of the hierarchy, with Recursive also of those
 * below, by name. "/" is the account's own, which are none.
 * https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
 */
export async function getParametersByPath(
  context: Context,
  input: GetParametersByPathRequest,
): Promise<GetParametersByPathResult> {
  refuseParameters(input, ['ParameterFilters'])
  const { Path: path = '', Recursive: isRecursive = false, MaxResults: size = MAX_PARAMETERS } = input
  new Constraints()
    .text('path', path, { min: 1, max: MAX_NAME_LENGTH })
    .range('maxResults', size, 1, MAX_PARAMETERS)
    .done('ValidationException')
  if (!path.startsWith('/')) {
    throw new ApiError('ValidationException', `The path ${path} must begin with a slash, as in "/aws/service/debian".`)
  }
  const level = path.endsWith('/') ? path : `${path}/`
  const after = input.NextToken ? nameOf(input.NextToken) : ''
  const images = await localImages(context)
  const names = [...PUBLIC_NAMES.keys()]
    .filter((name) => level !== '/' && name.startsWith(level) && name > after)
    .filter((name) => isRecursive || !name.slice(level.length).includes('/'))
    .filter((name) => recipeFor(images, name) !== undefined)
    .toSorted()
  const page = names.slice(0, size)
  const last = page.at(-1)
  return {
    Parameters: page.map((name) => findParameter(context, images, name)),
    ...(last !== undefined && names.length > size ? { NextToken: tokenOf(last) } : {}),
  }
}

/** A page goes on after the last name of the one before. */
function tokenOf(name: string): string {
  return Buffer.from(name).toString('base64url')
}

function nameOf(token: string): string {
  const name = Buffer.from(token, 'base64url').toString()
  if (PUBLIC_NAMES.has(name)) return name
  throw new ApiError('InvalidNextToken', 'The specified token is not valid.')
}
