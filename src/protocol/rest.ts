import { ApiError } from '../core/errors.ts'
import { decodeJsonInput } from './json.ts'
import { loadServiceModel, SERVICES, type Operation, type ServiceModel, type Shape } from './model.ts'
import { excerpt } from './query.ts'
import { pathOf, urlParameters, type RawRequest } from './request.ts'

// The protocol restJson1: the operation follows from method and path, whose labels are members of the
// input, as are some parameters of the URL; the rest is a JSON object, as in awsJson1_1.
// https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html

/** What a request's method and path call: the operation, and the members of its input in the path, as they came. */
export interface RestRoute {
  operation: Operation
  labels: Map<string, string>
}

/** The operation of that service at the request's method and path; undefined when there is none. */
export function routeOf(model: ServiceModel, request: RawRequest): RestRoute | undefined {
  const segments = pathOf(request).split('/')
  for (const name of model.operationNames()) {
    const operation = model.operation(name)
    if (operation?.http?.method !== request.method) continue
    const labels = labelsOf(operation.http.path.split('/'), segments)
    if (labels) return { operation, labels }
  }
  return undefined
}

/** The service with REST paths of which one is the request's; undefined when none has it. */
export function restServiceAt(request: RawRequest): ServiceModel | undefined {
  // What all other requests are sent to; asked first because this is asked of every one of them.
  if (pathOf(request) === '/') return undefined
  return SERVICES.map(loadServiceModel).find((model) => model.protocol === 'restJson1' && routeOf(model, request))
}

function labelsOf(template: readonly string[], segments: readonly string[]): Map<string, string> | undefined {
  if (template.length !== segments.length) return undefined
  const labels = new Map<string, string>()
  for (const [index, part] of template.entries()) {
    const segment = segments[index] ?? ''
    const label = /^\{(\w+)\}$/.exec(part)?.[1]
    if (label === undefined ? part !== segment : segment === '') return undefined
    if (label !== undefined) labels.set(label, segment)
  }
  return labels
}

/**
 * The operation's typed input, of path, URL and body.
 *
 * @throws ApiError ValidationException for what is missing, not known or no text; and as decodeJsonInput.
 */
export function decodeRestInput({ operation, labels }: RestRoute, request: RawRequest): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [name, segment] of labels) result[name] = unescaped(segment)
  const byParameter = new Map(Object.entries(operation.http?.query ?? {}).map(([name, parameter]) => [parameter, name]))
  for (const [parameter, value] of urlParameters(request)) {
    const name = byParameter.get(parameter)
    if (name !== undefined) addValue(result, name, value, shapeOf(operation, name))
    // Also where AWS ignores it: the caller meant something by it that would not come about.
    else if (!parameter.startsWith('X-Amz-')) throw invalid(`The parameter ${excerpt(parameter)} is not recognized`)
  }
  const inUrl = new Set([...labels.keys(), ...byParameter.values()])
  const members = operation.input?.members ?? []
  const missing = members.find(({ name, required }) => inUrl.has(name) && required && result[name] === undefined)
  if (missing) throw invalid(`The request must contain the parameter ${missing.name}`)
  const body = { kind: 'structure' as const, members: members.filter(({ name }) => !inUrl.has(name)) }
  return { ...result, ...decodeJsonInput({ ...operation, input: body }, request.body) }
}

function shapeOf(operation: Operation, name: string): Shape | undefined {
  return operation.input?.members.find((member) => member.name === name)?.shape
}

/** No operation that is here has anything but texts and lists of texts in its URL. */
function addValue(result: Record<string, unknown>, name: string, value: string, shape: Shape | undefined): void {
  if (typeof shape === 'object' && shape.kind === 'list' && shape.item === 'string') {
    result[name] = [...((result[name] as string[] | undefined) ?? []), value]
  } else if (shape === 'string') {
    result[name] = value
  } else {
    throw new TypeError(`${name} of a URL is neither a text nor a list of texts`)
  }
}

function unescaped(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw invalid(`"${excerpt(segment)}" is not percent-encoded UTF-8.`)
  }
}

function invalid(message: string): ApiError {
  return new ApiError('ValidationException', message)
}
