import type { Names } from './names.ts'

/** Name of the chain that remembers, across restarts, that ip_forward was off before Hearth came. */
export const FORWARDING_WAS_OFF = 'forwarding_was_off'

export interface HostRulesOptions {
  names: Names
  publicPool: string
  /** Interface whose network may reach public addresses; null for the host alone. */
  publicInterface: string | null
  /** Whether the pool is a part of that interface's network, which so finds the way back to an address. */
  isPoolOnLink: boolean
  forwardingWasOff: boolean
  /** Networks of the same cloud's other regions. */
  siblings?: readonly Sibling[]
}

/** The network of another region: its public addresses and ours reach each other, as over the internet. */
export interface Sibling {
  hostLinkPrefix: string
  publicPool: string
}

/**
 * Hearth's table on the host, replaced as one transaction. It judges only packets of this home's
 * own links and leaves everybody else's alone. Another program's forward chain may still drop what
 * is accepted here (Docker's does): in nftables a packet must be accepted by every chain.
 *
 * - Guests reach the world through their public addresses, hidden behind the host's own.
 * - Nobody reaches a VPC but at an address of the pool; whether the packet is let in is for the
 *   VPC's security groups to say.
 * - With a public interface, what comes in there may go to addresses of the pool; and where the pool
 *   is a part of its network, guests are seen there by their public addresses. The same goes for guests of other regions.
 * - Guests do not reach the host itself, apart from echo.
 */
export function renderHostRules(options: HostRulesOptions): string {
  const { names, publicPool, publicInterface, isPoolOnLink, forwardingWasOff, siblings = [] } = options
  const fromOutside = publicInterface === null ? ''
    : `    iifname "${publicInterface}" oifname "${names.hostLinkPrefix}*" ip daddr ${publicPool} accept\n`
  const asItself = isPoolOnLink ? `    ip saddr ${publicPool} oifname "${publicInterface}" accept\n` : ''
  const fromSiblings = siblings.map((each) =>
    `    iifname "${each.hostLinkPrefix}*" oifname "${names.hostLinkPrefix}*" ip saddr ${each.publicPool} ip daddr ${publicPool} accept\n`).join('')
  const toSiblings = siblings.map((each) => `    ip saddr ${publicPool} oifname "${each.hostLinkPrefix}*" accept\n`).join('')
  const ours = `"${names.hostLinkPrefix}*"`
  return `table inet ${names.hostTable}
delete table inet ${names.hostTable}
table inet ${names.hostTable} {
  chain from_guests {
    ip saddr ${publicPool} accept
    drop
  }
  chain to_guests {
    ct state established,related accept
    drop
  }
  chain to_host {
    ct state established,related accept
    icmp type echo-request accept
    drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname ${ours} oifname ${ours} ip saddr ${publicPool} ip daddr ${publicPool} accept
${fromOutside}${fromSiblings}    iifname ${ours} goto from_guests
    oifname ${ours} goto to_guests
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname ${ours} goto to_host
  }
  chain masquerade_out {
    type nat hook postrouting priority srcnat; policy accept;
${asItself}${toSiblings}    ip saddr ${publicPool} oifname != ${ours} masquerade
  }
${forwardingWasOff ? `  chain ${FORWARDING_WAS_OFF} {\n  }\n` : ''}}
`
}
