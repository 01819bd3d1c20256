import type { MetadataRequest, MetadataResponse } from '../network/driver.ts'
import { isValidToken, issueToken, MAX_TOKEN_TTL_SECONDS } from './tokens.ts'
import { buildTree, listDirectory, PUBLIC_KEYS_PATH, type InstanceMetadata } from './tree.ts'

const TTL_HEADER = 'x-aws-ec2-metadata-token-ttl-seconds'
const TOKEN_HEADER = 'x-aws-ec2-metadata-token'

/** The dated versions that EC2's own service lists; here all of them hold the same. */
const VERSIONS = [
  '1.0', '2007-01-19', '2007-03-01', '2007-08-29', '2007-10-10', '2007-12-15', '2008-02-01', '2008-09-01',
  '2009-04-04', '2011-01-01', '2011-05-01', '2012-01-12', '2014-02-25', '2014-11-05', '2015-10-20', '2016-04-19',
  '2016-06-30', '2016-09-02', '2018-03-28', '2018-08-17', '2018-09-24', '2019-10-01', '2020-10-27', '2021-01-03',
  '2021-03-23', 'latest',
]

const REASONS: Record<number, string> = {
  400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed',
}

/**
 * Answers one request as EC2's instance metadata service does (User Guide, "Instance metadata and
 * user data"): version 2 with session tokens, version 1 where the instance's options allow it.
 * `view` is of the instance that asks; undefined when nobody has the address any more.
 */
export function answerMetadata(
  view: InstanceMetadata | undefined,
  request: MetadataRequest,
  options: { nowMs: number; secret: Buffer },
): MetadataResponse {
  if (!view) return failure(404)
  if (view.options.httpEndpoint === 'disabled') return failure(403)
  const path = pathOf(request.path)
  if (path === undefined) return failure(400)
  if (request.method === 'PUT') return answerPut(view, path, request.headers, options)
  if (request.method !== 'GET' && request.method !== 'HEAD') return failure(405, { allow: 'GET, HEAD, PUT' })
  if (path.length === 3 && path.slice(1).join('/') === 'api/token') return failure(405, { allow: 'PUT' })
  const token = request.headers[TOKEN_HEADER]
  const isAllowed = token === undefined
    ? view.options.httpTokens === 'optional'
    : isValidToken(options.secret, view.instanceId, token, options.nowMs)
  return isAllowed ? answerGet(view, path) : failure(401)
}

/** Segments of the path, without its query; an absolute URL is one that a proxy's client would send. */
function pathOf(target: string): string[] | undefined {
  const [path = ''] = target.replace(/^http:\/\/[^/?#]*/i, '').split(/[?#]/)
  try {
    return decodeURIComponent(path).replace(/^\/|\/$/g, '').split('/')
  } catch {
    return undefined
  }
}

function answerPut(
  view: InstanceMetadata,
  path: string[],
  headers: MetadataRequest['headers'],
  { nowMs, secret }: { nowMs: number; secret: Buffer },
): MetadataResponse {
  const [version, ...rest] = path
  if (rest.join('/') !== 'api/token') return failure(405, { allow: 'GET, HEAD' })
  // A request that came through a proxy is not the instance's own.
  if (version !== 'latest' || headers['x-forwarded-for'] !== undefined) return failure(403)
  const ttl = headers[TTL_HEADER] ?? ''
  const ttlSeconds = /^\d{1,6}$/.test(ttl) ? Number(ttl) : 0
  if (ttlSeconds < 1 || ttlSeconds > MAX_TOKEN_TTL_SECONDS) return failure(400)
  return success(issueToken(secret, view.instanceId, nowMs + ttlSeconds * 1000), { [TTL_HEADER]: String(ttlSeconds) })
}

function answerGet(view: InstanceMetadata, [version = '', ...path]: string[]): MetadataResponse {
  if (version === '') return path.length === 0 ? success(VERSIONS.join('\n')) : failure(404)
  if (!VERSIONS.includes(version)) return failure(404)
  const tree = buildTree(view)
  // The only listing in which directories have no slash.
  if (path.length === 0) return success([...tree.keys()].join('\n'))
  if (path.join('/') === PUBLIC_KEYS_PATH && view.publicKey !== null) return success(`0=${view.keyName ?? ''}`)
  let entry: ReturnType<typeof tree.get> = tree
  for (const name of path) entry = entry instanceof Map ? entry.get(name) : undefined
  if (entry === undefined) return failure(404)
  if (entry instanceof Map) return success(listDirectory(entry))
  const isUserData = path[0] === 'user-data'
  return success(entry, isUserData ? { 'content-type': 'application/octet-stream' } : {})
}

function success(body: string | Buffer, headers: Record<string, string> = {}): MetadataResponse {
  return {
    status: 200,
    headers: { 'content-type': 'text/plain', server: 'EC2ws', ...headers },
    body: Buffer.from(body),
  }
}

function failure(status: number, headers: Record<string, string> = {}): MetadataResponse {
  const title = `${status} - ${REASONS[status] ?? 'Error'}`
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
  return { status, headers: { 'content-type': 'text/html', server: 'EC2ws', ...headers }, body: Buffer.from(body) }
}
