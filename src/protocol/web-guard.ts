import { ApiError } from '../core/errors.ts'
import type { RawRequest } from './request.ts'

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]']

/**
 * Keeps web pages away: a page that resolves its own name to our address is told by the Host
 * header, any other by Origin or Sec-Fetch-Site, which browsers set and pages cannot.
 */
export class WebGuard {
  readonly #hosts: Set<string>

  /** `allowedHosts`: names beside those of the loopback interface, without port. */
  constructor(allowedHosts: string[] = []) {
    this.#hosts = new Set([...LOOPBACK_NAMES, ...allowedHosts.map(hostName)])
  }

  /** Also answers to this name or address from now on. */
  allow(host: string): void {
    this.#hosts.add(hostName(host))
  }

  /** @throws ApiError AccessDenied (403) when a web page may be behind the request. */
  check({ headers }: RawRequest): void {
    const { host, origin } = headers
    const site = headers['sec-fetch-site']
    // No browser leaves Host out.
    if (host !== undefined && !this.#hosts.has(withoutPort(host))) {
      const names = [...this.#hosts].join(', ')
      throw denied(`This endpoint does not answer to the host name in the request. It answers to: ${names}.`)
    }
    const isOwnOrigin = origin === undefined || origin === `http://${host}` || origin === `https://${host}`
    const isOwnSite = site === undefined || site === 'same-origin' || site === 'none'
    if (!isOwnOrigin || !isOwnSite) throw denied('Web pages may not call this endpoint.')
  }
}

/** As in a Host header: lower case, IPv6 in brackets. */
function hostName(host: string): string {
  const lower = host.toLowerCase()
  return lower.includes(':') && !lower.startsWith('[') ? `[${lower}]` : lower
}

function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:\d+$/, '')
}

function denied(message: string): ApiError {
  return new ApiError('AccessDenied', message, 403)
}
