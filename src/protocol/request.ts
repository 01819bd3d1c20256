import type { Parameter } from './query.ts'
import { parseParameters } from './query.ts'

/** An HTTP request, whole; `url` as in the request line ("/?Action=…"), header names in lower case. */
export interface RawRequest {
  method: string
  url: string
  headers: Record<string, string | undefined>
  body: Buffer
}

export interface RawResponse<Body = string> {
  status: number
  headers: Record<string, string>
  body: Body
}

/** The body of a long answer comes bit by bit; a failure of it means that there is no whole answer. */
export type AnswerBody = string | AsyncIterable<string>

/** The path of a request's URL, without its query string. */
export function pathOf(request: RawRequest): string {
  const mark = request.url.indexOf('?')
  return mark === -1 ? request.url : request.url.slice(0, mark)
}

/** The parameters in a request's URL. @throws ApiError as parseParameters. */
export function urlParameters(request: RawRequest): Parameter[] {
  const mark = request.url.indexOf('?')
  return mark === -1 ? [] : parseParameters(request.url.slice(mark + 1))
}
