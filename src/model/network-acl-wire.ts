import type { NetworkAcl, NetworkAclEntry, Tag } from '@aws-sdk/client-ec2'
import type { NetworkAclAssociationTable, NetworkAclEntryTable, NetworkAclTable } from '../store/schema.ts'

/** The number of the entry that every network ACL ends with in both directions; nobody can change it. */
export const LAST_RULE_NUMBER = 32_767

/** Protocols by their number whose entries have ports, and those with ICMP type and code. */
const WITH_PORTS: readonly string[] = ['6', '17']
const WITH_TYPE: readonly string[] = ['1', '58']

/** A network ACL with its entries, egress first, each direction in the order in which they are tried. */
export function networkAclToWire(
  row: NetworkAclTable,
  entries: readonly NetworkAclEntryTable[],
  associations: readonly NetworkAclAssociationTable[],
  tags: Tag[],
): NetworkAcl {
  return {
    NetworkAclId: row.network_acl_id,
    VpcId: row.vpc_id,
    OwnerId: row.account_id,
    IsDefault: row.is_default === 1,
    Associations: associations.map((each) => ({
      NetworkAclAssociationId: each.association_id, NetworkAclId: each.network_acl_id, SubnetId: each.subnet_id,
    })),
    Entries: [...inOrder(entries, true), lastEntry(true), ...inOrder(entries, false), lastEntry(false)],
    Tags: tags,
  }
}

function inOrder(entries: readonly NetworkAclEntryTable[], egress: boolean): NetworkAclEntry[] {
  return entries
    .filter((entry) => (entry.is_egress === 1) === egress)
    .toSorted((a, b) => a.rule_number - b.rule_number).map(entryToWire)
}

function entryToWire(row: NetworkAclEntryTable): NetworkAclEntry {
  const isIpv6 = row.cidr.includes(':')
  const hasPorts = WITH_PORTS.includes(row.protocol)
  // An ICMPv6 entry for an IPv4 block is one for all types, and shows none.
  const hasType = WITH_TYPE.includes(row.protocol) && (row.protocol === '1' || isIpv6)
  return {
    RuleNumber: row.rule_number,
    Egress: row.is_egress === 1,
    RuleAction: row.action,
    Protocol: row.protocol,
    ...(isIpv6 ? { Ipv6CidrBlock: row.cidr } : { CidrBlock: row.cidr }),
    ...(hasPorts ? { PortRange: { From: row.from_port, To: row.to_port } } : {}),
    ...(hasType ? { IcmpTypeCode: { Type: row.from_port, Code: row.to_port } } : {}),
  }
}

/** Denies what no other entry has decided; the `*` of the console. */
function lastEntry(egress: boolean): NetworkAclEntry {
  return { RuleNumber: LAST_RULE_NUMBER, Egress: egress, RuleAction: 'deny', Protocol: '-1', CidrBlock: '0.0.0.0/0' }
}
