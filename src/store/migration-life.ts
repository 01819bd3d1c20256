import type { Migration } from './migration.ts'

/** Events, backups and pushed keys of instances. */
export const lifeMigration: Migration = {
  name: '005-life-of-an-instance',
  statements: [
    // Of a terminated instance whose data are kept for a while: all that it takes to have it again.
    `create table instance_backups (instance_id text primary key, account_id text not null, terminated_ms bigint not null,
        exit_ms bigint not null, doc text not null)`,
    `create index instance_backups_by_exit on instance_backups (exit_ms)`,
    `create table instance_events (event_id text primary key, account_id text not null, instance_id text not null,
        code text not null, state text not null, not_before_ms bigint not null, created_ms bigint not null, doc text not null)`,
    `create index instance_events_by_instance on instance_events (instance_id)`,
    // Public keys that let somebody in for a minute: over SSH, or to the serial console.
    `create table pushed_keys (key_id text primary key, account_id text not null, instance_id text not null, kind text not null,
        os_user text not null, public_key text not null, state text not null, expires_ms bigint not null)`,
    `create index pushed_keys_by_instance on pushed_keys (instance_id)`,
  ],
}

/** Launch templates. */
export const templatesMigration: Migration = {
  name: '006-launch-templates',
  statements: [
    `create table launch_templates (template_id text primary key, account_id text not null, name text not null,
        default_version integer not null, latest_version integer not null, next_version integer not null,
        created_ms bigint not null, doc text not null)`,
    `create unique index launch_templates_by_name on launch_templates (account_id, name)`,
    `create table launch_template_versions (template_id text not null references launch_templates on delete restrict,
        version integer not null, created_ms bigint not null, doc text not null, primary key (template_id, version))`,
  ],
}
