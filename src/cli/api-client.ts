import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import type { Credentials } from '../credentials.ts'
import { sign } from '../protocol/sigv4.ts'
import { textOf } from './xml.ts'

/** A client of EC2's Query API, for what the CLI does itself. */
export interface ApiClient {
  /**
   * Calls an operation and answers its XML.
   *
   * @throws ApiError with EC2's code and message, or Error when the API cannot be reached.
   */
  call(action: string, parameters?: Record<string, string>): Promise<string>
}

const API_VERSION = '2016-11-15'
const TIMEOUT_MS = 30_000

/** A client that signs with the home's own key. */
export function createApiClient(
  endpoint: string,
  options: { credentials: Credentials; region: string; clock: Clock },
): ApiClient {
  const url = new URL('/', endpoint)
  return {
    async call(action, parameters = {}) {
      const body = new URLSearchParams({ Action: action, Version: API_VERSION, ...parameters }).toString()
      const headers = { host: url.host, 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
      const request = { method: 'POST', url: url.pathname, headers, body: Buffer.from(body) }
      const { host: _, ...signed } = sign(
        request, options.credentials, { region: options.region, service: 'ec2' }, options.clock.now(),
      )
      const response = await fetch(url, {
        method: 'POST', body, headers: signed as Record<string, string>, signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: unknown) => {
        throw new Error(`the API at ${url.origin} does not answer ${action}`, { cause: error })
      })
      const xml = await response.text()
      if (response.ok) return xml
      throw new ApiError(
        textOf(xml, 'Code') ?? 'InternalError', textOf(xml, 'Message') ?? `${action} failed with HTTP ${response.status}`,
        response.status,
      )
    },
  }
}
