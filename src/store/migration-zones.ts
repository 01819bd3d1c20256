import type { Migration } from './migration.ts'

/** Zones, and where in them instances are placed. */
export const zonesMigration: Migration = {
  name: '007-zones',
  statements: [
    // A host is a share of a node (a computer) in one zone; the row of the node itself has no zone, and carries its network.
    `alter table hosts add column node_id text not null default ''`,
    `alter table hosts add column zone text`,
    `alter table hosts add column zone_revision integer not null default 0`,
    `update hosts set node_id = host_id`,
    `create table zones (zone text primary key, state text not null, revision integer not null, power_cuts integer not null,
        since_ms bigint not null, doc text not null)`,
    `alter table instances add column node_id text not null default ''`,
    `alter table instances add column tenancy text not null default 'default'`,
    `alter table instances add column placement_group_id text`,
    `alter table instances add column partition_number integer`,
    `alter table instances add column dedicated_host_id text`,
    `alter table instances add column capacity_reservation_id text`,
    `update instances set node_id = host_id`,
    // A host compares its own with the world each minute. Interfaces are all the node's: an index of them finds nothing quicker.
    `create index volumes_by_host on volumes (host_id, volume_id)`,
    `create index layers_by_host on layers (host_id, layer_id)`,
    `create index instances_of_own_hardware on instances (account_id) where tenancy = 'dedicated'`,
    `create index instances_by_placement_group on instances (placement_group_id) where placement_group_id is not null`,
    `create index instances_by_dedicated_host on instances (dedicated_host_id) where dedicated_host_id is not null`,
    `create index instances_by_reservation_of_capacity on instances (capacity_reservation_id)
        where capacity_reservation_id is not null`,
    `create table placement_groups (group_id text primary key, account_id text not null, name text not null,
        strategy text not null, partition_count integer not null, created_ms bigint not null, doc text not null)`,
    `create unique index placement_groups_by_name on placement_groups (account_id, name)`,
    // What one account has taken out of a host for itself.
    `create table dedicated_hosts (dedicated_host_id text primary key, account_id text not null,
        host_id text not null references hosts on delete restrict, zone text not null, state text not null,
        vcpus integer not null, memory_mib integer not null, vcpus_used integer not null, memory_mib_used integer not null,
        created_ms bigint not null, released_ms bigint, doc text not null)`,
    `create index dedicated_hosts_by_account on dedicated_hosts (account_id, created_ms)`,
    `create table capacity_reservations (capacity_reservation_id text primary key, account_id text not null, zone text not null,
        instance_type text not null, state text not null, total integer not null, match_criteria text not null, end_ms bigint,
        created_ms bigint not null, doc text not null)`,
    `create index capacity_reservations_by_account on capacity_reservations (account_id, created_ms)`,
    // On which hosts a reservation holds room: for how many instances, and how many are in it.
    `create table capacity_reservation_hosts (capacity_reservation_id text not null
        references capacity_reservations on delete restrict, host_id text not null references hosts on delete restrict,
        reserved integer not null, used integer not null, primary key (capacity_reservation_id, host_id))`,
    `create table fleets (fleet_id text primary key, account_id text not null, state text not null, type text not null,
        client_token text, created_ms bigint not null, doc text not null)`,
    `create index fleets_by_account on fleets (account_id, created_ms)`,
  ],
}
