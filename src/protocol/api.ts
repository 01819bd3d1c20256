import { ApiError, CrashError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Authenticator } from './authenticator.ts'
import { checkVersion, decodeInput } from './decode.ts'
import { encodeError, encodeOutput } from './encode.ts'
import { loadServiceModel, type ServiceModel, type ServiceName } from './model.ts'
import { bodyText, buildForm, excerpt, parseParameters, type FormNode } from './query.ts'
import { pathOf, urlParameters, type RawRequest, type RawResponse } from './request.ts'
import { readClaim } from './sigv4.ts'
import type { WebGuard } from './web-guard.ts'

/** One call of an operation, authenticated and decoded. */
export interface ApiCall {
  service: ServiceName
  action: string
  /** In the SDK's types: for RunInstances a RunInstancesRequest. */
  input: object
  /** Twelve digits. */
  account: string
  /** Null when the request is not signed (permissive mode only). */
  accessKeyId: string | null
  /** Region the request was signed for; null when it is not signed. */
  region: string | null
  requestId: string
}

/** Runs a call and resolves to its typed output; rejects with ApiError for what the client is to see. */
export type Dispatch = (call: ApiCall) => Promise<object>

export interface ApiOptions {
  authenticator: Authenticator
  dispatch: Dispatch
  /** Whether dispatch knows the operation. */
  supports: (service: string, action: string) => boolean
  random: Random
  log: Logger
}

/** All services of the endpoint; the first that knows an action has it when a request is not signed. */
const SERVICES: readonly ServiceName[] = ['ec2', 'sts']

/** From a request to its response, without sockets. */
export class Api {
  readonly #options: ApiOptions
  readonly #guard: WebGuard

  constructor(options: ApiOptions, guard: WebGuard) {
    this.#options = options
    this.#guard = guard
  }

  /** Answers every request; rejects only with CrashError. */
  async handle(request: RawRequest): Promise<RawResponse> {
    const requestId = uuid(this.#options.random)
    // Until the service is known, errors are told in EC2's shape.
    const answer = { model: loadServiceModel('ec2'), action: '' }
    try {
      return response(200, await this.#answer(request, requestId, answer), requestId)
    } catch (error) {
      if (error instanceof CrashError) throw error
      const told = error instanceof ApiError ? error : this.#internalError(error, answer.action, requestId)
      const { code, message, httpStatus } = told
      const body = encodeError(answer.model, { code, message, isSender: httpStatus < 500 }, requestId)
      return response(httpStatus, body, requestId)
    }
  }

  /** The body of a successful response; fills `answer` in as it learns what is called. */
  async #answer(
    request: RawRequest,
    requestId: string,
    answer: { model: ServiceModel; action: string },
  ): Promise<string> {
    const { authenticator, dispatch, supports } = this.#options
    this.#guard.check(request)
    checkEndpoint(request)
    const form = buildForm([...urlParameters(request), ...parseParameters(bodyText(request.body))])
    const action = form.children?.get('Action')?.value ?? ''
    const model = modelFor(request, action)
    answer.model = model
    answer.action = action
    const identity = await authenticator.authenticate(request)
    const operation = operationOf(model, action, form)
    if (!supports(model.service, action)) {
      const message = `The operation ${action} is not supported by Hearth yet; see docs/coverage.md.`
      throw new ApiError('UnsupportedOperation', message)
    }
    const input = decodeInput(model, operation, form)
    const { account, accessKeyId, region } = identity
    const output = await dispatch({ service: model.service, action, input, account, accessKeyId, region, requestId })
    return encodeOutput(model, operation, output, requestId)
  }

  /** A bug of ours: the client learns the request id, the log the rest. */
  #internalError(error: unknown, action: string, requestId: string): ApiError {
    const detail = error instanceof Error ? error.stack : String(error)
    this.#options.log.error('internal error', { action, requestId, detail })
    return new ApiError('InternalError', 'An internal error has occurred. The log of the API has more about it.', 500)
  }
}

function checkEndpoint(request: RawRequest): void {
  if (request.method !== 'GET' && request.method !== 'POST') {
    throw new ApiError('InvalidRequest', `Use POST or GET, not ${excerpt(request.method)}.`, 405)
  }
  if (pathOf(request) !== '/') {
    throw new ApiError('InvalidRequest', `There is nothing at ${excerpt(pathOf(request))}; the API is at /.`, 404)
  }
}

/** By the credential scope; for a request without one, the service that has the action. */
function modelFor(request: RawRequest, action: string): ServiceModel {
  const models = SERVICES.map(loadServiceModel)
  const claim = readClaim(request)
  if (claim === undefined || claim === 'malformed') {
    return models.find((model) => model.operation(action)) ?? loadServiceModel('ec2')
  }
  const model = models.find(({ service }) => service === claim.scope.service)
  if (model) return model
  const message = `The service ${claim.scope.service} is not supported by Hearth yet; see docs/coverage.md.`
  throw new ApiError('UnsupportedOperation', message)
}

function operationOf(model: ServiceModel, action: string, form: FormNode) {
  if (action === '') {
    throw new ApiError('MissingAction', 'The request is missing an action: it must contain the parameter Action.')
  }
  checkVersion(model, form.children?.get('Version')?.value)
  const operation = model.operation(action)
  if (operation) return operation
  throw new ApiError('InvalidAction', `The action ${excerpt(action)} is not valid for this web service.`)
}

/** A response in the manner of EC2. */
export function response(status: number, body: string, requestId: string): RawResponse {
  const headers = {
    'x-amzn-requestid': requestId,
    'content-type': 'text/xml;charset=UTF-8',
    'cache-control': 'no-cache, no-store',
    server: 'AmazonEC2',
  }
  return { status, headers, body }
}

/** A random (version 4) UUID. */
export function uuid(random: Random): string {
  const bytes = random.bytes(16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
