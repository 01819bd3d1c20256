import { encodeError, escapeText } from './encode.ts'
import { TARGET_HEADER } from './json.ts'
import { loadServiceModel, SERVICES, type ServiceModel } from './model.ts'
import { pathOf, type RawRequest } from './request.ts'
import { readClaim } from './sigv4.ts'

export const XML_TYPE = 'text/xml;charset=UTF-8'
const JSON_TYPE = 'application/x-amz-json-1.1'
const REST_TYPE = 'application/json'

/** `isSender`: it is the client's to mend. */
interface ToldError {
  code: string
  message: string
  isSender: boolean
  reason: string | undefined
}

/** How clients of one service read an error. */
export interface ErrorForm {
  contentType: string
  encode: (error: ToldError, requestId: string) => string
  /** Headers that an error has of its own. */
  headers?: (error: ToldError) => Record<string, string>
}

/** The form of a service that is here. */
export function formOf(model: ServiceModel): ErrorForm {
  if (model.service === 'ec2-instance-connect') return capitalForm
  if (model.protocol === 'awsJson1_1') return jsonForm(JSON_TYPE)
  if (model.protocol === 'restJson1') return restForm
  return { contentType: XML_TYPE, encode: (error, requestId) => encodeError(model, error, requestId) }
}

/**
 * The form of the service that a request seems to be for, so that a client of one that is not here
 * reads why instead of failing on the answer. A request without any mark gets EC2's.
 *
 * @throws ApiError where the parameters of its URL cannot be read.
 */
export function guessForm(request: RawRequest): ErrorForm {
  const claim = readClaim(request)
  const service = claim === undefined || claim === 'malformed' ? undefined : claim.scope.service
  const known = SERVICES.find((name) => name === service)
  if (known) return formOf(loadServiceModel(known))
  const contentType = request.headers['content-type'] ?? ''
  if (request.headers[TARGET_HEADER] !== undefined || contentType.startsWith('application/x-amz-json')) {
    return jsonForm(contentType.startsWith('application/x-amz-json-1.0') ? 'application/x-amz-json-1.0' : JSON_TYPE)
  }
  if (service === undefined) return formOf(loadServiceModel('ec2'))
  if (service === 's3') return s3Form
  const isQuery = pathOf(request) === '/' || contentType.startsWith('application/x-www-form-urlencoded')
  // What has resources in its path is REST: Route 53 and CloudFront with XML, all others with JSON.
  return isQuery || service === 'route53' || service === 'cloudfront' ? queryForm : jsonForm(REST_TYPE)
}

/** Every JSON protocol of AWS reads these two members. */
function jsonForm(contentType: string): ErrorForm {
  return { contentType, encode: ({ code, message }) => JSON.stringify({ __type: code, message }) }
}

/** Errors of EC2 Instance Connect name their text `Message`, which the other name is for clients in general. */
const capitalForm: ErrorForm = {
  contentType: JSON_TYPE,
  encode: ({ code, message }) => JSON.stringify({ __type: code, message, Message: message }),
}

/** REST with JSON has the code in a header. https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html */
const restForm: ErrorForm = {
  contentType: REST_TYPE,
  encode: ({ message, reason }) => JSON.stringify({ Message: message, Reason: reason }),
  headers: ({ code }) => ({ 'x-amzn-errortype': code }),
}

const queryForm: ErrorForm = {
  contentType: XML_TYPE,
  encode: ({ code, message, isSender }, requestId) =>
    `<ErrorResponse><Error><Type>${isSender ? 'Sender' : 'Receiver'}</Type>${content(code, message)}</Error>`
    + `<RequestId>${requestId}</RequestId></ErrorResponse>`,
}

const s3Form: ErrorForm = {
  contentType: 'application/xml',
  encode: ({ code, message }, requestId) =>
    `<Error>${content(code, message)}<RequestId>${requestId}</RequestId></Error>`,
}

function content(code: string, message: string): string {
  return `<Code>${escapeText(code)}</Code><Message>${escapeText(message)}</Message>`
}
