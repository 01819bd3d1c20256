import type { Random } from './random.ts'

/** Prefixes of the resource ids that Hearth makes, as EC2 names them. */
export type IdPrefix =
  | 'i' | 'r' | 'vol' | 'snap' | 'ami' | 'eni' | 'eni-attach' | 'vpc' | 'subnet' | 'sg' | 'sgr' | 'key'
  | 'igw' | 'rtb' | 'rtbassoc' | 'acl' | 'aclassoc' | 'dopt' | 'eipalloc' | 'eipassoc' | 'nat' | 'pcx' | 'pl'
  | 'vpc-cidr-assoc' | 'nip' | 'nia' | 'lay' | 'mem' | 'pk' | 'import-ami' | 'import-snap' | 'retention' | 'instance-event' | 'lt' | 'pg'
  | 'cr' | 'h' | 'fleet' | 'sir' | 'sfr'

/** Kinds whose ids end in a UUID. */
const WITH_UUID: readonly IdPrefix[] = ['fleet', 'sfr']

/** A new id: the prefix and 17 hexadecimal digits, as EC2 has made them since 2016; a UUID for a few kinds. */
export function newId(random: Random, prefix: IdPrefix): string {
  if (!WITH_UUID.includes(prefix)) return `${prefix}-${random.bytes(9).toString('hex').slice(0, 17)}`
  const hex = random.bytes(16).toString('hex')
  return [prefix, hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** Whether `id` has the form of that kind of id: 17 hexadecimal digits, or the legacy 8; or a UUID. */
export function isWellFormedId(prefix: IdPrefix, id: string): boolean {
  const form = WITH_UUID.includes(prefix) ? /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/ : /^([0-9a-f]{8}|[0-9a-f]{17})$/
  return id.startsWith(`${prefix}-`) && form.test(id.slice(prefix.length + 1))
}
