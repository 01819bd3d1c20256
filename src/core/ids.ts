import type { Random } from './random.ts'

/** Prefixes of the resource ids that Hearth makes, as EC2 names them. */
export type IdPrefix =
  | 'i' | 'r' | 'vol' | 'snap' | 'ami' | 'eni' | 'eni-attach' | 'vpc' | 'subnet' | 'sg' | 'sgr' | 'key'
  | 'igw' | 'rtb' | 'rtbassoc' | 'acl' | 'aclassoc' | 'dopt' | 'eipalloc' | 'eipassoc' | 'nat' | 'pcx' | 'pl'
  | 'vpc-cidr-assoc' | 'nip' | 'nia' | 'lay' | 'mem' | 'pk' | 'import-ami' | 'import-snap' | 'retention' | 'instance-event' | 'lt' | 'pg'
  | 'cr' | 'h'

/** A new id: the prefix and 17 hexadecimal digits, as EC2 has made them since 2016. */
export function newId(random: Random, prefix: IdPrefix): string {
  return `${prefix}-${random.bytes(9).toString('hex').slice(0, 17)}`
}

/** Whether `id` has the form of that kind of id: 17 hexadecimal digits, or the legacy 8. */
export function isWellFormedId(prefix: IdPrefix, id: string): boolean {
  return id.startsWith(`${prefix}-`) && /^([0-9a-f]{8}|[0-9a-f]{17})$/.test(id.slice(prefix.length + 1))
}
