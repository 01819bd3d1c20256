import { ApiError } from '../core/errors.ts'
import { checkVersion, decodeInput } from './decode.ts'
import { decodeJsonInput, jsonAction, TARGET_HEADER } from './json.ts'
import { loadServiceModel, SERVICES, type Operation, type ServiceModel } from './model.ts'
import { bodyText, buildForm, excerpt, parseParameters } from './query.ts'
import { pathOf, urlParameters, type RawRequest } from './request.ts'
import { decodeRestInput, restServiceAt, routeOf } from './rest.ts'
import { readClaim } from './sigv4.ts'

/** What a request calls, as read before anybody asks who sent it. */
export interface ReadCall {
  model: ServiceModel
  /** As the client wrote it; '' when there is none. */
  action: string
  /** The operation's typed input. @throws ApiError as the codec of the protocol. */
  decode: (operation: Operation) => Record<string, unknown>
}

/**
 * What is called, of which service: the one that the request is signed for; without a signature,
 * the one of its path or target, or the first that has the action.
 *
 * @throws ApiError UnsupportedOperation for a service that is not here; InvalidRequest for what is
 *   not at the endpoint; whatever parsing the form throws.
 */
export function readCall(request: RawRequest): ReadCall {
  const signedFor = signedService(request)
  const rest = signedFor ?? restServiceAt(request)
  if (rest?.protocol === 'restJson1') return readRestCall(rest, request)
  checkEndpoint(request)
  const target = request.headers[TARGET_HEADER]
  const models = SERVICES.map(loadServiceModel)
  const json = signedFor ?? models.find((model) => model.target !== '' && target?.startsWith(`${model.target}.`))
  if (json?.protocol === 'awsJson1_1') {
    const decode = (operation: Operation) => decodeJsonInput(operation, request.body)
    return { model: json, action: jsonAction(json, request), decode }
  }
  const form = buildForm([...urlParameters(request), ...parseParameters(bodyText(request.body))])
  const action = form.children?.get('Action')?.value ?? ''
  const isQuery = ({ protocol }: ServiceModel) => protocol === 'ec2Query' || protocol === 'awsQuery'
  const model = signedFor
    ?? models.find((each) => isQuery(each) && each.operation(action)) ?? loadServiceModel('ec2')
  return {
    model, action,
    decode(operation) {
      checkVersion(model, form.children?.get('Version')?.value)
      return decodeInput(model, operation, form)
    },
  }
}

function readRestCall(model: ServiceModel, request: RawRequest): ReadCall {
  const route = routeOf(model, request)
  const decode = () => (route ? decodeRestInput(route, request) : {})
  return { model, action: route?.operation.name ?? '', decode }
}

/** The service of the credential scope; undefined for a request without one. */
function signedService(request: RawRequest): ServiceModel | undefined {
  const claim = readClaim(request)
  if (claim === undefined || claim === 'malformed') return undefined
  const service = SERVICES.find((name) => name === claim.scope.service)
  if (service) return loadServiceModel(service)
  const message = `The service ${claim.scope.service} is not supported by Hearth yet; see docs/coverage.md.`
  throw new ApiError('UnsupportedOperation', message)
}

function checkEndpoint(request: RawRequest): void {
  if (request.method !== 'GET' && request.method !== 'POST') {
    throw new ApiError('InvalidRequest', `Use POST or GET, not ${excerpt(request.method)}.`, 405)
  }
  if (pathOf(request) !== '/') {
    throw new ApiError('InvalidRequest', `There is nothing at ${excerpt(pathOf(request))}; the API is at /.`, 404)
  }
}

/** The operation of that name. @throws ApiError in the words of the protocol when AWS has none. */
export function operationOf(model: ServiceModel, action: string): Operation {
  const operation = model.operation(action)
  if (operation) return operation
  if (model.protocol === 'awsJson1_1') {
    const message = `The header X-Amz-Target must name an operation, as in "${model.target}.NAME"; this one names none.`
    throw new ApiError('UnknownOperationException', message)
  }
  if (model.protocol === 'restJson1') {
    throw new ApiError('UnknownOperationException', 'No operation has this method and path.', 404)
  }
  if (action === '') {
    throw new ApiError('MissingAction', 'The request is missing an action: it must contain the parameter Action.')
  }
  throw new ApiError('InvalidAction', `The action ${excerpt(action)} is not valid for this web service.`)
}

