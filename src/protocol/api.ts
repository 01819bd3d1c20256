import type { Clock } from '../core/clock.ts'
import { ApiError, CrashError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Authenticator } from './authenticator.ts'
import { encodeOutput, encodePages, hasPages } from './encode.ts'
import { formOf, guessForm, XML_TYPE, type ErrorForm } from './error-forms.ts'
import { encodeJsonOutput } from './json.ts'
import { loadServiceModel, type ServiceName } from './model.ts'
import { excerpt } from './query.ts'
import { operationOf, readCall } from './read-call.ts'
import type { AnswerBody, RawRequest, RawResponse } from './request.ts'
import type { WebGuard } from './web-guard.ts'

/** Status of an answer that has no body. */
const NO_CONTENT = 204

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
  /** Puts a sentence into the log line of the request. */
  remark?: (text: string) => void
}

/** Runs a call and resolves to its typed output; rejects with ApiError for what the client is to see. */
export type Dispatch = (call: ApiCall) => Promise<object>

export interface ApiOptions {
  authenticator: Authenticator
  dispatch: Dispatch
  /** Whether dispatch knows the operation. */
  supports: (service: ServiceName, action: string) => boolean
  clock: Clock
  random: Random
  log: Logger
}

/** What is known of a request so far: for its log line, and for the form of an error. */
interface Progress {
  form: ErrorForm
  service: string | null
  action: string
  account: string | null
  /** What a handler wants the log to say of the call. */
  remarks: Set<string>
}

/** From a request to its response, without sockets. */
export class Api {
  readonly #options: ApiOptions
  readonly #guard: WebGuard

  constructor(options: ApiOptions, guard: WebGuard) {
    this.#options = options
    this.#guard = guard
  }

  /** Answers every request; rejects only with CrashError. */
  async handle(request: RawRequest): Promise<RawResponse<AnswerBody>> {
    const { clock, random } = this.#options
    const startMs = clock.now()
    const requestId = uuid(random)
    // Until the service is known, errors are told in EC2's shape.
    const progress: Progress = {
      form: formOf(loadServiceModel('ec2')), service: null, action: '', account: null, remarks: new Set(),
    }
    const form = () => progress.form
    try {
      const { status, body } = await this.#answer(request, requestId, progress)
      return this.#logged(progress, response(status, body, requestId, form().contentType), { requestId, startMs })
    } catch (thrown) {
      if (thrown instanceof CrashError) throw thrown
      const told = thrown instanceof ApiError ? thrown : this.#internalError(thrown, progress.action, requestId)
      const { code, httpStatus } = told
      const { encode, headers, contentType } = form()
      const error = { code, message: told.message, isSender: httpStatus < 500, reason: told.reason }
      const plain = response(httpStatus, encode(error, requestId), requestId, contentType)
      const answer = { ...plain, headers: { ...plain.headers, ...headers?.(error) } }
      return this.#logged(progress, answer, { requestId, startMs, code })
    }
  }

  /** What a successful response has; fills `progress` in as it learns what is called, and by whom. */
  async #answer(request: RawRequest, requestId: string, progress: Progress): Promise<{ status: number; body: AnswerBody }> {
    const { authenticator, dispatch, supports } = this.#options
    progress.form = guessForm(request)
    this.#guard.check(request)
    const { model, action, decode } = readCall(request)
    Object.assign(progress, { form: formOf(model), service: model.service, action })
    const { account, accessKeyId, region } = await authenticator.authenticate(request)
    progress.account = account
    const operation = operationOf(model, action)
    if (!supports(model.service, action)) {
      const message = `The operation ${action} is not supported by Hearth yet; see docs/coverage.md.`
      throw new ApiError('UnsupportedOperation', message)
    }
    const input = decode(operation)
    const remark = (text: string) => void progress.remarks.add(text)
    const { service } = model
    const output = await dispatch({ service, action, input, account, accessKeyId, region, requestId, remark })
    const status = operation.http?.status ?? 200
    if (status === NO_CONTENT) return { status, body: '' }
    const isJson = model.protocol === 'awsJson1_1' || model.protocol === 'restJson1'
    if (isJson) return { status, body: encodeJsonOutput(operation, output) }
    const encode = hasPages(output) ? encodePages : encodeOutput
    return { status, body: encode(model, operation, output, requestId) }
  }

  /**
   * The answer as it is; its line in the log is written when all of it is made. A line has nothing
   * of what the request carried but the name of its operation.
   */
  #logged(
    { service, action, account, remarks }: Progress,
    answer: RawResponse<AnswerBody>,
    { requestId, startMs, code }: { requestId: string; startMs: number; code?: string },
  ): RawResponse<AnswerBody> {
    const { clock, log } = this.#options
    const write = (bytes: number, isWhole: boolean) => log.info('request', {
      requestId, service, action: action === '' ? null : excerpt(action), account, status: answer.status, code,
      durationMs: clock.now() - startMs, bytes,
      ...(isWhole ? {} : { cut: true }),
      ...(remarks.size > 0 ? { remarks: [...remarks] } : {}),
    })
    const { body } = answer
    if (typeof body !== 'string') return { ...answer, body: counted(body, write) }
    write(Buffer.byteLength(body), true)
    return answer
  }

  /** A bug of ours: the client learns the request id, the log the rest. */
  #internalError(error: unknown, action: string, requestId: string): ApiError {
    const detail = error instanceof Error ? error.stack : String(error)
    this.#options.log.error('internal error', { action, requestId, detail })
    return new ApiError('InternalError', 'An internal error has occurred. The log of the API has more about it.', 500)
  }
}

/** A response in the manner of EC2. */
export function response<Body extends AnswerBody>(
  status: number,
  body: Body,
  requestId: string,
  contentType = XML_TYPE,
): RawResponse<Body> {
  const headers = {
    'x-amzn-requestid': requestId,
    'content-type': contentType,
    'cache-control': 'no-cache, no-store',
    server: 'AmazonEC2',
  }
  return { status, headers, body }
}

/** The pieces as they are; `done` hears how many bytes they were, and whether it was all of them. */
async function* counted(
  pieces: AsyncIterable<string>,
  done: (bytes: number, isWhole: boolean) => void,
): AsyncGenerator<string> {
  let bytes = 0
  let isWhole = false
  try {
    for await (const piece of pieces) {
      bytes += Buffer.byteLength(piece)
      yield piece
    }
    isWhole = true
  } finally {
    done(bytes, isWhole)
  }
}

/** A random (version 4) UUID. */
export function uuid(random: Random): string {
  const bytes = random.bytes(16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
