import { createHash } from 'node:crypto'
import type { NatGatewaySpec, PortSpec } from '../driver.ts'
import { type Address, addressesOf, type Frame, subnetOf } from './frame.ts'
import { chain, collection, element, entry, type Piece } from './ruleset.ts'
import { aclChain, groupChain, membersOf } from './vpc-rules.ts'

const ZONES = 0xffff

/** Everything in a VPC's rules that is there because of one port. */
export function portRules(frame: Frame, port: PortSpec): Piece[] {
  const tap = `"${frame.names.tap(port.slot)}"`
  const addresses = addressesOf(port)
  const privateIps = addresses.map((each) => each.privateIp)
  const { mac, groupIds } = port
  return [
    ...privateIps.map((ip) => element('source', `${tap} . ${mac} . ${ip}`)),
    ...[...privateIps, '0.0.0.0'].map((ip) => element('source', `${tap} . ${mac} . ${ip}`, 'arp')),
    ...(port.sourceDestCheck ? [] : [
      element('unchecked', `${tap} . ${mac}`), element('unchecked', `${tap} . ${mac}`, 'arp'),
      entry('address_of', tap, port.privateIp, 'arp'),
    ]),
    ...cutRules(port, tap),
    ...edgeElements(frame, port, tap),
    ...addresses.flatMap((each) => publicElements(each, tap)),
    chain(`hops_${port.metadataHopLimit}`, [`ip ttl set ${port.metadataHopLimit}`]),
    ...privateIps.map((ip) => entry('hops_of', ip, `goto hops_${port.metadataHopLimit}`)),
    ...groupIds.flatMap((groupId) => privateIps.map((ip) => element(membersOf(groupId), ip))),
    ...['0.0.0.0', port.privateIp].map((ip) => element('dhcp_clients', `${tap} . ${mac} . ${ip} . 0x${mac.replaceAll(':', '')}`)),
    ...(['ingress', 'egress'] as const).flatMap((direction) => {
      const name = combinationChain(direction, groupIds)
      return [
        // One for all ports that are in the same groups.
        chain(name, [...groupIds.toSorted().map((id) => `jump ${groupChain(direction, id)}`), 'drop']),
        entry(`${direction}_of`, tap, `goto ${name}`),
      ]
    }),
  ]
}

/** A NAT gateway has no security groups; it passes on what comes from others. */
export function natRules(frame: Frame, nat: NatGatewaySpec): Piece[] {
  const dev = `"${frame.names.nat(nat.slot)}"`
  return [
    element('unchecked', `${dev} . ${nat.mac}`),
    ...cutRules(nat, dev),
    ...edgeElements(frame, nat, dev),
    ...publicElements(nat, dev),
    entry('ingress_of', dev, 'goto to_nat'),
    entry('egress_of', dev, 'accept'),
  ]
}

/**
 * Before anything else looks at a packet, and after everything has that lets it pass. The chains are there as long as
 * anything is cut: a VPC of sound zones does not pay for them.
 */
function cutRules({ isCut }: { isCut?: true }, dev: string): Piece[] {
  if (!isCut) return []
  const hook = (name: string, priority: string) => `type filter hook ${name} priority ${priority}; policy accept;`
  return (['inet', 'arp'] as const).flatMap((family) => [
    collection('set', 'cut', 'type ifname', family),
    element('cut', dev, family),
    chain('cut_in', ['iifname @cut drop'], family === 'inet' ? hook('prerouting', 'raw - 10') : hook('input', 'filter - 10'), family),
    chain('cut_out', ['oifname @cut drop'], family === 'inet' ? hook('postrouting', 'raw') : hook('output', 'filter'), family),
  ])
}

function combinationChain(direction: 'ingress' | 'egress', groupIds: readonly string[]): string {
  const digest = createHash('sha256').update(groupIds.toSorted().join(' ')).digest('hex').slice(0, 16)
  return `${direction === 'ingress' ? 'i' : 'e'}_${digest}`
}

function edgeElements(frame: Frame, owner: { subnetId: string }, dev: string): Piece[] {
  const { mark, networkAclId } = subnetOf(frame, owner)
  return [
    entry('subnet_of', dev, hex(mark)),
    element('same_subnet', `${hex(mark)} . ${dev}`),
    entry('acl_egress_of', hex(mark), `jump ${aclChain('egress', networkAclId)}`),
    entry('acl_ingress_of', dev, `jump ${aclChain('ingress', networkAclId)}`),
  ]
}

function publicElements({ privateIp, publicIp }: Address, dev: string): Piece[] {
  if (publicIp === null) return []
  return [
    element('published', `${dev} . ${privateIp}`),
    element('pair', `${privateIp} . ${publicIp}`),
    entry('public_of', privateIp, publicIp),
    entry('private_of', publicIp, privateIp),
    entry('zone_of', privateIp, String(zoneOf(privateIp, publicIp))),
    entry('zone_of', publicIp, String(zoneOf(privateIp, publicIp))),
  ]
}

/** 1–65535; connections without a public address are tracked in zone 0. */
function zoneOf(privateIp: string, publicIp: string): number {
  return 1 + (createHash('sha256').update(`${privateIp} ${publicIp}`).digest().readUInt32BE(0) % ZONES)
}

const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`
