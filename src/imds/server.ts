import type { MetadataRequest, MetadataResponse } from '../network/driver.ts'
import type { IdentitySignatures } from './identity.ts'
import { issueToken, MAX_TOKEN_TTL_SECONDS, tokenExpiry } from './tokens.ts'
import { buildTree, listDirectory, PUBLIC_KEYS_PATH, type Entry, type InstanceMetadata } from './tree.ts'

const TTL_HEADER = 'x-aws-ec2-metadata-token-ttl-seconds'
const TOKEN_HEADER = 'x-aws-ec2-metadata-token'

/** The dated versions that EC2's own service lists; here all of them hold the same. */
const VERSIONS = [
  '1.0', '2007-01-19', '2007-03-01', '2007-08-29', '2007-10-10', '2007-12-15', '2008-02-01', '2008-09-01',
  '2009-04-04', '2011-01-01', '2011-05-01', '2012-01-12', '2014-02-25', '2014-11-05', '2015-10-20', '2016-04-19',
  '2016-06-30', '2016-09-02', '2018-03-28', '2018-08-17', '2018-09-24', '2019-10-01', '2020-10-27', '2021-01-03',
  '2021-03-23', '2021-07-15', '2022-09-24', '2024-04-11', 'latest',
]

const REASONS = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found' }

export interface AnswerOptions {
  nowMs: number
  /** Signs the tokens. */
  secret: Buffer
  /** Of the instance's identity document. */
  signatures: IdentitySignatures
}

/**
 * Answers one request as EC2's instance metadata service does (User Guide, "Instance metadata and
 * user data"): version 2 with session tokens, version 1 where the instance's options allow it.
 * `view` is of the instance that asks, as it is now: options are in force from the next request on.
 */
export function answerMetadata(
  view: InstanceMetadata,
  request: MetadataRequest,
  options: AnswerOptions,
): MetadataResponse {
  if (view.options.httpEndpoint === 'disabled') return failure(403)
  const path = pathOf(request.path)
  if (path === undefined) return failure(400)
  if (request.method === 'PUT') return answerPut(view, path, request.headers, options)
  if (path.length === 3 && path.slice(1).join('/') === 'api/token') return notAllowed('OPTIONS, PUT')
  if (request.method !== 'GET' && request.method !== 'HEAD') return notAllowed('GET, HEAD')
  const token = request.headers[TOKEN_HEADER]
  if (token === undefined) {
    return view.options.httpTokens === 'optional' ? answerGet(view, path, options) : failure(401)
  }
  const leftMs = (tokenExpiry(options.secret, view.instanceId, token) ?? 0) - options.nowMs
  if (leftMs <= 0) return failure(401)
  const response = answerGet(view, path, options)
  const left = { [TTL_HEADER]: String(Math.ceil(leftMs / 1000)) }
  return { ...response, headers: { ...response.headers, ...left } }
}

/** What a guest gets whose address nobody has any more. */
export function answerStranger(): MetadataResponse {
  return failure(404)
}

/**
 * Segments of the path, without its query; an absolute URL is one that a proxy's client would send.
 * Slashes at the end count for nothing, and several are as good as one, as on EC2.
 */
function pathOf(target: string): string[] | undefined {
  const [path = ''] = target.replace(/^http:\/\/[^/?#]*/i, '').split(/[?#]/)
  try {
    return path.split('/').filter((segment) => segment !== '').map(decodeURIComponent)
  } catch {
    return undefined
  }
}

function answerPut(
  view: InstanceMetadata,
  path: string[],
  headers: MetadataRequest['headers'],
  { nowMs, secret }: AnswerOptions,
): MetadataResponse {
  const [version, ...rest] = path
  if (rest.join('/') !== 'api/token') return notAllowed('GET, HEAD')
  // A request that came through a proxy is not the instance's own.
  if (version !== 'latest' || headers['x-forwarded-for'] !== undefined) return failure(403)
  const ttl = headers[TTL_HEADER] ?? ''
  const ttlSeconds = /^\d{1,6}$/.test(ttl) ? Number(ttl) : 0
  if (ttlSeconds < 1 || ttlSeconds > MAX_TOKEN_TTL_SECONDS) return failure(400)
  return success(issueToken(secret, view.instanceId, nowMs + ttlSeconds * 1000), { [TTL_HEADER]: String(ttlSeconds) })
}

function answerGet(
  view: InstanceMetadata,
  [version, ...path]: string[],
  { signatures }: AnswerOptions,
): MetadataResponse {
  if (version === undefined) return success(VERSIONS.join('\n'))
  if (!VERSIONS.includes(version)) return failure(404)
  const tree = buildTree(view, signatures)
  // The only listing in which directories have no slash.
  if (path.length === 0) return success([...tree.keys()].join('\n'))
  if (path.join('/') === PUBLIC_KEYS_PATH && view.publicKey !== null) return success(`0=${view.keyName ?? ''}`)
  let entry: Entry | undefined = tree
  for (const name of path) entry = entry instanceof Map ? entry.get(name) : undefined
  if (entry === undefined) return failure(404)
  return entry instanceof Map ? success(listDirectory(entry)) : success(entry, headersOf(view, path))
}

/** What is fixed from one start to the next has the time of the start; user-data may be anything. */
function headersOf(view: InstanceMetadata, path: string[]): Record<string, string> {
  const started = { 'last-modified': new Date(view.launchMs).toUTCString() }
  if (path[0] === 'user-data') return { 'content-type': 'application/octet-stream', ...started }
  return path[1] === 'instance-identity' ? started : {}
}

function success(body: string | Buffer, headers: Record<string, string> = {}): MetadataResponse {
  return {
    status: 200,
    headers: { 'content-type': 'text/plain', 'accept-ranges': 'none', server: 'EC2ws', ...headers },
    body: Buffer.from(body),
  }
}

/** The one refusal that EC2 gives without a page. */
function notAllowed(allow: string): MetadataResponse {
  return { status: 405, headers: { 'content-type': 'text/plain', server: 'EC2ws', allow }, body: Buffer.alloc(0) }
}

function failure(status: 400 | 401 | 403 | 404): MetadataResponse {
  const title = `${status} - ${REASONS[status]}`
  const body = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>${title}</title>
 </head>
 <body>
  <h1>${title}</h1>
 </body>
</html>
`
  return { status, headers: { 'content-type': 'text/html', server: 'EC2ws' }, body: Buffer.from(body) }
}
