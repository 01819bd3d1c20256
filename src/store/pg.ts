import { createRequire } from 'node:module'

/** The driver of PostgreSQL, by a path that bundles do not move to their beginning: most clouds need none, and it takes 6 MB. */
export const pg = createRequire(import.meta.url)('pg') as typeof import('pg')
