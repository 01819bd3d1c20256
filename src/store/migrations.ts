import { sql, type Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** One step of the schema; never edited once released, only followed by another. */
export const migrations: { name: string; statements: string[] }[] = [
  {
    name: '001-first-light',
    statements: [
      `create table accounts (account_id text primary key, name text not null, created_ms bigint not null)`,
      `create table access_keys (access_key_id text primary key,
        account_id text not null references accounts on delete restrict, secret text not null,
        created_ms bigint not null)`,
      `create table hosts (host_id text primary key, epoch integer not null, region text not null,
        vcpus integer not null, memory_mib integer not null, vcpus_used integer not null,
        memory_mib_used integer not null, heartbeat_ms bigint not null, doc text not null)`,
      `create table slots (host_id text not null references hosts on delete restrict, kind text not null,
        slot integer not null, owner_id text not null, primary key (host_id, kind, slot))`,
      `create unique index slots_by_owner on slots (host_id, kind, owner_id)`,
      `create table vpcs (vpc_id text primary key, account_id text not null references accounts on delete restrict,
        cidr text not null, is_default integer not null, state text not null, created_ms bigint not null,
        doc text not null)`,
      `create unique index vpcs_default on vpcs (account_id) where is_default = 1`,
      `create table subnets (subnet_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict, zone text not null, cidr text not null,
        default_for_az integer not null, map_public_ip integer not null, state text not null,
        created_ms bigint not null, doc text not null)`,
      `create index subnets_by_vpc on subnets (vpc_id)`,
      `create table security_groups (group_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict, name text not null, name_key text not null,
        description text not null, created_ms bigint not null)`,
      `create unique index security_groups_by_name on security_groups (vpc_id, name_key)`,
      `create table security_group_rules (rule_id text primary key, account_id text not null,
        group_id text not null references security_groups on delete restrict, is_egress integer not null,
        protocol text not null, from_port integer not null, to_port integer not null, cidr text,
        peer_group_id text references security_groups on delete restrict, peer_key text not null, description text)`,
      `create unique index security_group_rules_once on security_group_rules
        (group_id, is_egress, protocol, from_port, to_port, peer_key)`,
      `create table key_pairs (key_pair_id text primary key, account_id text not null, name text not null,
        key_type text not null, fingerprint text not null, public_key text not null, created_ms bigint not null)`,
      `create unique index key_pairs_by_name on key_pairs (account_id, name)`,
      `create table snapshots (snapshot_id text primary key, account_id text not null, size_gib integer not null,
        state text not null, created_ms bigint not null, doc text not null)`,
      `create table images (image_id text primary key, account_id text not null, name text not null,
        state text not null, is_public integer not null, architecture text not null,
        root_device_name text not null, snapshot_id text not null references snapshots on delete restrict,
        created_ms bigint not null, doc text not null)`,
      `create table instances (instance_id text primary key, account_id text not null, reservation_id text not null,
        launch_index integer not null, client_token text, state text not null, instance_type text not null,
        image_id text not null, key_name text, vpc_id text not null references vpcs on delete restrict,
        subnet_id text not null references subnets on delete restrict, zone text not null,
        host_id text not null references hosts on delete restrict, slot integer, vcpus integer not null,
        memory_mib integer not null, holds_capacity integer not null, reboot_requested integer not null, reboot_completed integer not null,
        state_ms bigint not null, launch_ms bigint not null, doc text not null)`,
      `create index instances_by_account on instances (account_id, launch_ms)`,
      `create index instances_by_host on instances (host_id, state)`,
      `create index instances_by_reservation on instances (reservation_id)`,
      `create table interfaces (interface_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict,
        subnet_id text not null references subnets on delete restrict, zone text not null,
        instance_id text references instances on delete restrict, host_id text, slot integer,
        device_index integer not null, private_ip text not null, mac text not null, public_ip text,
        status text not null, wanted integer not null, ready integer not null,
        delete_on_termination integer not null, created_ms bigint not null, doc text not null)`,
      `create unique index interfaces_private_ip on interfaces (vpc_id, private_ip)`,
      `create unique index interfaces_mac on interfaces (mac)`,
      `create unique index interfaces_public_ip on interfaces (public_ip)`,
      `create index interfaces_by_instance on interfaces (instance_id)`,
      `create index interfaces_by_subnet on interfaces (subnet_id)`,
      `create table interface_groups (
        interface_id text not null references interfaces on delete cascade,
        group_id text not null references security_groups on delete restrict, position integer not null,
        primary key (interface_id, group_id))`,
      `create index interface_groups_by_group on interface_groups (group_id)`,
      `create table volumes (volume_id text primary key, account_id text not null,
        host_id text not null references hosts on delete restrict, zone text not null, size_gib integer not null,
        volume_type text not null, snapshot_id text references snapshots on delete restrict, state text not null,
        ready integer not null, instance_id text references instances on delete restrict, device text,
        attach_state text, attached_ms bigint, delete_on_termination integer not null, created_ms bigint not null,
        doc text not null)`,
      `create index volumes_by_instance on volumes (instance_id)`,
      `create index volumes_by_account on volumes (account_id)`,
      `create table tags (account_id text not null, resource_type text not null, resource_id text not null,
        key text not null, value text not null, primary key (resource_id, account_id, key))`,
      `create index tags_by_value on tags (account_id, resource_type, key, value)`,
      `create table client_tokens (account_id text not null, operation text not null, token text not null,
        parameters_hash text not null, resource_id text not null, created_ms bigint not null,
        primary key (account_id, operation, token))`,
      `create table console_outputs (instance_id text primary key references instances on delete cascade,
        captured_ms bigint not null, output text not null)`,
      `create table work (host_id text not null, kind text not null, id text not null, generation integer not null,
        due_ms bigint not null, attempts integer not null, last_error text, primary key (host_id, kind, id))`,
      `create index work_due on work (host_id, due_ms)`,
    ],
  },
  {
    name: '002-everyday',
    statements: [
      `alter table access_keys add column session_token text`,
      `alter table access_keys add column expires_ms bigint`,
      `alter table access_keys add column principal text`,
      `create table account_settings (account_id text not null references accounts on delete restrict,
        name text not null, value text not null, primary key (account_id, name))`,
      `create table screenshots (instance_id text primary key references instances on delete cascade,
        captured_ms bigint not null, image text not null)`,
      `alter table instances add column created_ms bigint not null default 0`,
      `update instances set created_ms = launch_ms`,
      `drop index instances_by_account`,
      `create index instances_by_account on instances (account_id, created_ms, instance_id)`,
      `create index images_by_account on images (account_id)`,
      `alter table interfaces add column revision integer not null default 1`,
      `alter table interfaces add column synced_revision integer not null default 0`,
      `create index interfaces_unsynced on interfaces (vpc_id) where revision <> synced_revision`,
    ],
  },
]

const META = 'create table if not exists meta (key text primary key, value text not null)'

/** Any number that nobody else takes; held while the schema changes. */
const POSTGRES_LOCK = 4_973_110_821

/**
 * A statement in the words of the dialect. On PostgreSQL an `integer` has 32 bits, which some of our
 * numbers exceed, and text is compared as its database was made; ours is compared byte by byte, as
 * on SQLite, whatever that is. Migrations name these two types for nothing but columns.
 */
function inDialect(statement: string, dialect: 'sqlite' | 'postgres'): string {
  if (dialect === 'sqlite') return statement
  return statement.replaceAll(/ integer\b/g, ' bigint').replaceAll(/ text\b/g, ' text collate "C"')
}

/** Every table that migrations make. */
export function tableNames(): string[] {
  const statements = [META, ...migrations.flatMap((migration) => migration.statements)]
  return statements.flatMap((statement) => /^create table (?:if not exists )?(\w+)/.exec(statement)?.[1] ?? [])
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
  // Whoever has waited for the lock must see what was done meanwhile. (SQLite has one isolation only.)
  await db.transaction().setIsolationLevel('read committed').execute(async (tx) => {
    if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${POSTGRES_LOCK})`.execute(tx)
    await sql.raw(inDialect(META, dialect)).execute(tx)
    const row = await tx.selectFrom('meta').select('value').where('key', '=', 'schema').executeTakeFirst()
    const done = Number(row?.value ?? 0)
    if (done > migrations.length) {
      throw new Error('this cloud was written by a newer Hearth; update Hearth, or use another --home')
    }
    for (const migration of migrations.slice(done, version)) {
      for (const statement of migration.statements) await sql.raw(inDialect(statement, dialect)).execute(tx)
    }
    await tx
      .insertInto('meta')
      .values({ key: 'schema', value: String(Math.max(done, version)) })
      .onConflict((conflict) => conflict.column('key').doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })))
      .execute()
  })
}
