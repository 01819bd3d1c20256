import { sql, type Kysely } from 'kysely'
import type { DialectStatements, Migration } from './migration.ts'
import { disksMigration } from './migration-disks.ts'
import { everydayMigration, firstLightMigration } from './migration-first-light.ts'
import { lifeMigration, templatesMigration } from './migration-life.ts'
import { spotMigration } from './migration-spot.ts'
import { vpcMigration } from './migration-vpc.ts'
import { zonesMigration } from './migration-zones.ts'
import type { Database } from './schema.ts'

const migrations: readonly Migration[] = [
  firstLightMigration, everydayMigration, vpcMigration, disksMigration,
  lifeMigration, templatesMigration, zonesMigration, spotMigration,
]

const META = 'create table if not exists meta (key text primary key, value text not null)'

/** Any number that nobody else takes; held while the schema changes. */
const POSTGRES_LOCK = 4_973_110_821

/**
 * A statement in the words of the dialect. On PostgreSQL an `integer` has 32 bits, which some of our
 * numbers exceed, and text is compared as its database was made; ours is compared byte by byte, as
 * on SQLite, whatever that is. Migrations name these two types for nothing but columns.
 */
function inDialect(statement: string | DialectStatements, dialect: 'sqlite' | 'postgres'): string[] {
  if (typeof statement !== 'string') return statement[dialect]
  if (dialect === 'sqlite') return [statement]
  return [statement.replaceAll(/ integer\b/g, ' bigint').replaceAll(/ text\b/g, ' text collate "C"')]
}

/** Every table that migrations make. */
export function tableNames(): string[] {
  const statements = [META, ...migrations.flatMap((migration) => migration.statements)]
  return statements.flatMap((statement) => (typeof statement === 'string' ? [statement] : statement.postgres)).flatMap((statement) =>
    /^create table (?:if not exists )?(\w+)/.exec(statement)?.[1] ?? [])
}

/**
 * Brings the schema up to date, or to an older `version` in tests; safe to run from two processes at
 * once and to run again.
 *
 * @throws Error when the database was written by a newer Hearth.
 */
export async function migrate(
  db: Kysely<Database>,
  dialect: 'sqlite' | 'postgres' = 'sqlite',
  version = migrations.length,
): Promise<void> {
  // A table that is made anew on SQLite must not take along what refers to it. Inside a transaction
  // this setting has no effect, so it is made around it.
  if (dialect === 'sqlite') await sql`pragma foreign_keys = off`.execute(db)
  try {
    // Whoever has waited for the lock must see what was done meanwhile. (SQLite has one isolation only.)
    await db.transaction().setIsolationLevel('read committed').execute((tx) => migrateIn(tx, dialect, version))
  } finally {
    if (dialect === 'sqlite') await sql`pragma foreign_keys = on`.execute(db)
  }
}

async function migrateIn(tx: Kysely<Database>, dialect: 'sqlite' | 'postgres', version: number): Promise<void> {
  const run = async (statement: string | DialectStatements) => {
    for (const text of inDialect(statement, dialect)) await sql.raw(text).execute(tx)
  }
  if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${POSTGRES_LOCK})`.execute(tx)
  await run(META)
  const row = await tx.selectFrom('meta').select('value').where('key', '=', 'schema').executeTakeFirst()
  const done = Number(row?.value ?? 0)
  if (done > migrations.length) {
    throw new Error('this cloud was written by a newer Hearth; update Hearth, or use another --home')
  }
  const due = migrations.slice(done, version)
  for (const migration of due) {
    for (const statement of migration.statements) await run(statement)
  }
  if (dialect === 'sqlite' && due.length > 0) {
    const { rows } = await sql`pragma foreign_key_check`.execute(tx)
    if (rows.length > 0) throw new Error(`the database is damaged: ${rows.length} rows refer to rows that are gone`)
  }
  await tx
    .insertInto('meta')
    .values({ key: 'schema', value: String(Math.max(done, version)) })
    .onConflict((conflict) => conflict.column('key').doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })))
    .execute()
}
