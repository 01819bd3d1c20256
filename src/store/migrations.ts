import { sql, type Kysely } from 'kysely'
import type { DialectStatements, Migration } from './migration.ts'
import { spotMigration } from './migration-spot.ts'
import type { Database } from './schema.ts'

export const migrations: Migration[] = [
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
  {
    name: '003-vpc',
    statements: [
      `create table vpc_cidrs (association_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict, cidr text not null, state text not null,
        created_ms bigint not null)`,
      `create unique index vpc_cidrs_once on vpc_cidrs (vpc_id, cidr)`,
      `create table route_tables (route_table_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict, is_main integer not null, created_ms bigint not null)`,
      `create unique index route_tables_main on route_tables (vpc_id) where is_main = 1`,
      `create index route_tables_by_vpc on route_tables (vpc_id)`,
      `create table route_table_associations (association_id text primary key, account_id text not null,
        route_table_id text not null references route_tables on delete restrict,
        subnet_id text references subnets on delete restrict, created_ms bigint not null)`,
      `create unique index route_table_associations_by_subnet on route_table_associations (subnet_id)`,
      `create index route_table_associations_by_table on route_table_associations (route_table_id)`,
      `create table routes (route_table_id text not null references route_tables on delete restrict,
        account_id text not null, destination text not null, target_kind text not null, target_id text not null,
        created_ms bigint not null, primary key (route_table_id, destination))`,
      `create index routes_by_target on routes (target_id)`,
      `create table internet_gateways (internet_gateway_id text primary key, account_id text not null,
        vpc_id text references vpcs on delete restrict, created_ms bigint not null)`,
      `create unique index internet_gateways_by_vpc on internet_gateways (vpc_id)`,
      // Of a NAT gateway that was deleted, VPC and subnet may be gone while it is still shown; one that
      // lives keeps both by its interface.
      `create table nat_gateways (nat_gateway_id text primary key, account_id text not null, vpc_id text not null,
        subnet_id text not null, interface_id text references interfaces on delete restrict,
        host_id text not null references hosts on delete restrict, connectivity text not null, state text not null,
        created_ms bigint not null, deleted_ms bigint, doc text not null)`,
      `create index nat_gateways_by_vpc on nat_gateways (vpc_id)`,
      `create index nat_gateways_by_subnet on nat_gateways (subnet_id)`,
      `create table addresses (allocation_id text primary key, account_id text not null, public_ip text not null,
        association_id text, interface_id text references interfaces on delete restrict, private_ip text,
        created_ms bigint not null, doc text not null)`,
      `create unique index addresses_by_public_ip on addresses (public_ip)`,
      `create unique index addresses_by_association on addresses (association_id)`,
      `create index addresses_by_interface on addresses (interface_id)`,
      `create index addresses_by_account on addresses (account_id)`,
      `create table interface_addresses (interface_id text not null references interfaces on delete restrict,
        vpc_id text not null, private_ip text not null, public_ip text, created_ms bigint not null,
        primary key (interface_id, private_ip))`,
      `create unique index interface_addresses_private_ip on interface_addresses (vpc_id, private_ip)`,
      `create unique index interface_addresses_public_ip on interface_addresses (public_ip)`,
      `create table network_acls (network_acl_id text primary key, account_id text not null,
        vpc_id text not null references vpcs on delete restrict, is_default integer not null, created_ms bigint not null)`,
      `create unique index network_acls_default on network_acls (vpc_id) where is_default = 1`,
      `create index network_acls_by_vpc on network_acls (vpc_id)`,
      `create table network_acl_entries (network_acl_id text not null references network_acls on delete restrict,
        account_id text not null, is_egress integer not null, rule_number integer not null, action text not null,
        protocol text not null, cidr text not null, from_port integer not null, to_port integer not null,
        primary key (network_acl_id, is_egress, rule_number))`,
      `create table network_acl_associations (association_id text primary key, account_id text not null,
        network_acl_id text not null references network_acls on delete restrict,
        subnet_id text not null references subnets on delete restrict, created_ms bigint not null)`,
      `create unique index network_acl_associations_by_subnet on network_acl_associations (subnet_id)`,
      `create index network_acl_associations_by_acl on network_acl_associations (network_acl_id)`,
      `create table dhcp_options (dhcp_options_id text primary key, account_id text not null,
        created_ms bigint not null, doc text not null)`,
      `create table prefix_lists (prefix_list_id text primary key, account_id text not null, name text not null,
        address_family text not null, max_entries integer not null, version integer not null, state text not null,
        state_message text, created_ms bigint not null)`,
      `create index prefix_lists_by_account on prefix_lists (account_id)`,
      `create table prefix_list_entries (prefix_list_id text not null references prefix_lists on delete restrict,
        version integer not null, cidr text not null, description text, primary key (prefix_list_id, version, cidr))`,
      // Without a foreign key: a peering that has ended is shown for a while, its VPCs may be gone.
      `create table vpc_peerings (peering_id text primary key, account_id text not null, requester_vpc_id text not null,
        accepter_account_id text not null, accepter_vpc_id text not null, status text not null,
        status_message text not null, created_ms bigint not null, expires_ms bigint not null, ended_ms bigint,
        doc text not null)`,
      `create index vpc_peerings_by_requester on vpc_peerings (requester_vpc_id)`,
      `create index vpc_peerings_by_accepter on vpc_peerings (accepter_vpc_id)`,
      `create table network_insights (id text primary key, account_id text not null, kind text not null,
        path_id text references network_insights on delete restrict, created_ms bigint not null, doc text not null)`,
      `alter table interfaces add column source_dest_check integer not null default 1`,
      `alter table interfaces add column requester_id text`,
      `alter table security_groups add column revision integer not null default 1`,
      `alter table security_groups add column synced_revision integer not null default 0`,
      `create index security_groups_unsynced on security_groups (vpc_id) where revision <> synced_revision`,
      `alter table security_group_rules add column prefix_list_id text references prefix_lists on delete restrict`,
      `create index security_group_rules_by_prefix_list on security_group_rules (prefix_list_id)`,
      `create index security_group_rules_by_peer on security_group_rules (peer_group_id) where peer_group_id is not null`,
      // What is terminated is in no subnet any more, which may go before the row does.
      {
        postgres: [
          `alter table instances alter column vpc_id drop not null`, `alter table instances alter column subnet_id drop not null`,
        ],
        // SQLite changes columns by making the table anew.
        sqlite: [
          `create table instances_new (instance_id text primary key, account_id text not null, reservation_id text not null,
            launch_index integer not null, client_token text, state text not null, instance_type text not null,
            image_id text not null, key_name text, vpc_id text references vpcs on delete restrict,
            subnet_id text references subnets on delete restrict, zone text not null,
            host_id text not null references hosts on delete restrict, slot integer, vcpus integer not null,
            memory_mib integer not null, holds_capacity integer not null, reboot_requested integer not null,
            reboot_completed integer not null, state_ms bigint not null, launch_ms bigint not null, doc text not null,
            created_ms bigint not null default 0)`,
          `insert into instances_new select instance_id, account_id, reservation_id, launch_index, client_token, state,
            instance_type, image_id, key_name, vpc_id, subnet_id, zone, host_id, slot, vcpus, memory_mib, holds_capacity,
            reboot_requested, reboot_completed, state_ms, launch_ms, doc, created_ms from instances`,
          `drop table instances`,
          `alter table instances_new rename to instances`,
          `create index instances_by_account on instances (account_id, created_ms, instance_id)`,
          `create index instances_by_host on instances (host_id, state)`,
          `create index instances_by_reservation on instances (reservation_id)`,
        ],
      },
      `create index instances_by_type on instances (account_id, instance_type)`,
      `create index instances_by_image on instances (account_id, image_id)`,
      `create index instances_by_key on instances (account_id, key_name) where key_name is not null`,
      `update instances set vpc_id = null, subnet_id = null where state = 'terminated'`,
    ],
  },
  {
    name: '004-disks',
    statements: [
      `create table layers (layer_id text primary key, account_id text not null,
        host_id text not null references hosts on delete restrict,
        parent_id text references layers on delete restrict, replaces_id text references layers on delete restrict,
        state text not null, size_gib integer not null, depth integer not null, created_ms bigint not null,
        doc text not null)`,
      `create index layers_by_parent on layers (parent_id)`,
      `create unique index layers_by_replaced on layers (replaces_id)`,
      // Of a home that an earlier version made: the disks of images, and the volumes on them. Their files
      // keep their names, which follow from the ids.
      `insert into layers select snapshot_id, account_id, (select min(host_id) from hosts), null, null, 'sealed',
        size_gib, 0, created_ms, '{}' from snapshots`,
      `insert into layers select volume_id, account_id, host_id, snapshot_id, null,
        case when ready = 1 then 'open' else 'making' end, size_gib, case when snapshot_id is null then 0 else 1 end,
        created_ms, '{}' from volumes`,
      `alter table snapshots add column layer_id text references layers on delete restrict`,
      `alter table snapshots add column volume_id text`,
      `alter table snapshots add column encrypted integer not null default 0`,
      `alter table snapshots add column is_public integer not null default 0`,
      `alter table snapshots add column binned_ms bigint`,
      `alter table snapshots add column bin_exit_ms bigint`,
      `update snapshots set layer_id = snapshot_id`,
      `create index snapshots_by_account on snapshots (account_id, created_ms)`,
      `create index snapshots_by_layer on snapshots (layer_id)`,
      `create index snapshots_by_volume on snapshots (volume_id)`,
      `create table snapshot_permissions (snapshot_id text not null references snapshots on delete cascade,
        account_id text not null, primary key (snapshot_id, account_id))`,
      `create index snapshot_permissions_by_account on snapshot_permissions (account_id)`,
      `alter table images add column binned_ms bigint`,
      `alter table images add column bin_exit_ms bigint`,
      `create table image_snapshots (image_id text not null references images on delete cascade,
        device_name text not null, snapshot_id text not null references snapshots on delete restrict,
        primary key (image_id, device_name))`,
      `create index image_snapshots_by_snapshot on image_snapshots (snapshot_id)`,
      `insert into image_snapshots select image_id, root_device_name, snapshot_id from images`,
      `create index images_by_snapshot on images (snapshot_id)`,
      `create table image_permissions (image_id text not null references images on delete cascade,
        account_id text not null, primary key (image_id, account_id))`,
      `create index image_permissions_by_account on image_permissions (account_id)`,
      // A volume outlives the snapshot that it was made from: what it needs of it is the layer.
      {
        postgres: [
          `alter table volumes drop constraint volumes_snapshot_id_fkey`,
          `alter table volumes add column layer_id text collate "C" references layers on delete restrict`,
          `alter table volumes add column next_layer_id text collate "C" references layers on delete restrict`,
          `alter table volumes add column "freeze" text collate "C"`,
          `alter table volumes add column encrypted bigint not null default 0`,
          `alter table volumes add column revision bigint not null default 1`,
          `alter table volumes add column synced_revision bigint not null default 0`,
          `alter table volumes add column binned_ms bigint`,
          `alter table volumes add column bin_exit_ms bigint`,
          `update volumes set layer_id = volume_id`,
          `alter table volumes alter column layer_id set not null`,
        ],
        // SQLite changes columns by making the table anew.
        sqlite: [
          `create table volumes_new (volume_id text primary key, account_id text not null,
            host_id text not null references hosts on delete restrict, zone text not null, size_gib integer not null,
            volume_type text not null, snapshot_id text, state text not null, ready integer not null,
            instance_id text references instances on delete restrict, device text, attach_state text,
            attached_ms bigint, delete_on_termination integer not null, created_ms bigint not null, doc text not null,
            layer_id text not null references layers on delete restrict,
            next_layer_id text references layers on delete restrict, "freeze" text, encrypted integer not null default 0,
            revision integer not null default 1, synced_revision integer not null default 0, binned_ms bigint,
            bin_exit_ms bigint)`,
          `insert into volumes_new select volume_id, account_id, host_id, zone, size_gib, volume_type, snapshot_id, state,
            ready, instance_id, device, attach_state, attached_ms, delete_on_termination, created_ms, doc, volume_id, null,
            null, 0, 1, 0, null, null from volumes`,
          `drop table volumes`,
          `alter table volumes_new rename to volumes`,
          `create index volumes_by_instance on volumes (instance_id)`,
          `create index volumes_by_account on volumes (account_id)`,
        ],
      },
      `create unique index volumes_by_layer on volumes (layer_id)`,
      `create unique index volumes_by_next_layer on volumes (next_layer_id)`,
      `create index volumes_by_snapshot on volumes (snapshot_id)`,
      `create table volume_modifications (volume_id text primary key references volumes on delete cascade,
        account_id text not null, state text not null, started_ms bigint not null, ended_ms bigint, doc text not null)`,
      `create table import_tasks (task_id text primary key, account_id text not null, kind text not null,
        host_id text not null references hosts on delete restrict, state text not null, created_ms bigint not null,
        doc text not null)`,
      `create index import_tasks_by_account on import_tasks (account_id)`,
      `create table recycle_rules (rule_id text primary key, account_id text not null, resource_type text not null,
        created_ms bigint not null, doc text not null)`,
      `create index recycle_rules_by_account on recycle_rules (account_id, resource_type)`,
      // What encryption keys are derived from is in the home; here is only who has which.
      `create table kms_keys (key_id text primary key, account_id text not null, created_ms bigint not null, doc text not null)`,
      `create index kms_keys_by_account on kms_keys (account_id)`,
    ],
  },
  {
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
  },
  {
    name: '006-launch-templates',
    statements: [
      `create table launch_templates (template_id text primary key, account_id text not null, name text not null,
        default_version integer not null, latest_version integer not null, next_version integer not null,
        created_ms bigint not null, doc text not null)`,
      `create unique index launch_templates_by_name on launch_templates (account_id, name)`,
      `create table launch_template_versions (template_id text not null references launch_templates on delete restrict,
        version integer not null, created_ms bigint not null, doc text not null, primary key (template_id, version))`,
    ],
  },
  {
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
  },
  spotMigration,
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
