import type { Names } from './names.ts'

/** Name of the chain that remembers, across restarts, that ip_forward was off before Hearth came. */
export const FORWARDING_WAS_OFF = 'forwarding_was_off'

/**
 * Hearth's table on the host, replaced as one transaction. It judges only packets of this home's
 * own links and leaves everybody else's alone. Another program's forward chain may still drop what
 * is accepted here (Docker's does): in nftables a packet must be accepted by every chain.
 *
 * - Guests reach the world through their public addresses, hidden behind the host's own.
 * - Nobody reaches a VPC but at an address of the pool; whether the packet is let in is for the
 *   VPC's security groups to say.
 * - Guests do not reach the host itself, apart from echo.
 */
export function renderHostRules(names: Names, publicPool: string, forwardingWasOff: boolean): string {
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
    iifname ${ours} goto from_guests
    oifname ${ours} goto to_guests
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname ${ours} goto to_host
  }
  chain masquerade_out {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${publicPool} oifname != ${ours} masquerade
  }
${forwardingWasOff ? `  chain ${FORWARDING_WAS_OFF} {\n  }\n` : ''}}
`
}
