import type { Migration } from './migration.ts'

/** Spot requests and their market, fleets that go on, events as they are told to others, and what is to be paid for. */
export const spotMigration: Migration = {
  name: '008-spot',
  statements: [
    `alter table instances add column lifecycle text not null default 'on-demand'`,
    `alter table instances add column spot_request_id text`,
    `alter table instances add column fleet_id text`,
    `create index instances_on_spot on instances (zone, instance_id) where lifecycle = 'spot'`,
    // All that the supply of a zone is counted from.
    `create index instances_holding_spot on instances (zone, vcpus, memory_mib, state, dedicated_host_id, capacity_reservation_id)
      where lifecycle = 'spot' and holds_capacity = 1`,
    `create index instances_leaving on instances (instance_id)
      where lifecycle = 'spot' and holds_capacity = 0 and state <> 'stopped' and state <> 'terminated'`,
    `create index instances_by_fleet on instances (fleet_id) where fleet_id is not null`,
    `alter table fleets add column kind text not null default 'fleet'`,
    `create table fleet_history (fleet_id text not null references fleets on delete cascade, seq integer not null, at_ms bigint not null,
      event_type text not null, doc text not null, primary key (fleet_id, seq))`,
    `create table spot_requests (request_id text primary key, account_id text not null, state text not null, status_code text not null,
      type text not null, instance_type text not null, zone text, max_price_micro_usd bigint not null, bid_ppm bigint not null,
      instance_id text, launch_group text, az_group text, fleet_id text, valid_from_ms bigint, valid_until_ms bigint,
      created_ms bigint not null, status_ms bigint not null, doc text not null)`,
    `create index spot_requests_by_account on spot_requests (account_id, created_ms)`,
    `create index spot_requests_by_state on spot_requests (state, status_ms)`,
    `create index spot_requests_by_instance on spot_requests (instance_id) where instance_id is not null`,
    `create index spot_requests_maybe_noticed on spot_requests (instance_id)
      where status_code in ('marked-for-stop', 'marked-for-termination', 'request-canceled-and-instance-running')`,
    `create index spot_requests_by_fleet on spot_requests (fleet_id) where fleet_id is not null`,
    `create index spot_requests_by_group on spot_requests (account_id, launch_group) where launch_group is not null`,
    `create table spot_market (region text primary key, doc text not null)`,
    `create table spot_zones (zone text primary key, clearing_ppm integer not null, supply_cap_ppm integer, updated_ms bigint not null,
      doc text not null)`,
    `create table spot_clearings (zone text not null, at_ms bigint not null, clearing_ppm integer not null, primary key (zone, at_ms))`,
    `create table spot_pins (zone text not null, instance_type text not null, at_ms bigint not null, price_micro_usd bigint,
      primary key (zone, instance_type, at_ms))`,
    {
      sqlite: [
        `create table cloud_events (seq integer primary key autoincrement, account_id text not null, at_ms bigint not null,
          source text not null, detail_type text not null, resources text not null, detail text not null)`,
      ],
      // Read below the oldest transaction that runs: a number is drawn before its row is seen, and a later one may be seen earlier.
      postgres: [
        `create table cloud_events (seq bigserial primary key, account_id text collate "C" not null, at_ms bigint not null,
          source text collate "C" not null, detail_type text collate "C" not null, resources text collate "C" not null,
          detail text collate "C" not null, tx xid8 not null default pg_current_xact_id())`,
      ],
    },
    `create index cloud_events_by_time on cloud_events (at_ms)`,
    `create table event_targets (name text primary key, kind text not null, endpoint text not null, pattern text, cursor_seq bigint not null,
      attempts integer not null, created_ms bigint not null, doc text not null)`,
    `create table usage_runs (instance_id text not null, from_ms bigint not null, until_ms bigint, account_id text not null,
      zone text not null, instance_type text not null, lifecycle text not null, doc text not null, primary key (instance_id, from_ms))`,
    `create index usage_runs_by_account on usage_runs (account_id, from_ms)`,
  ],
}
