/** Written before the uplink is made, so that an uplink that is there means they are in force. */
export const NAMESPACE_SETTINGS = `set -e
cd /proc/sys/net
echo 1 > ipv4/ip_forward
for name in all default; do
  echo 0 > ipv4/conf/$name/rp_filter
  echo 0 > ipv4/conf/$name/send_redirects
  echo 0 > ipv4/conf/$name/accept_redirects
  if [ -d ipv6/conf/$name ]; then echo 1 > ipv6/conf/$name/disable_ipv6; fi
done
`

/**
 * Proxy ARP makes the namespace answer for every neighbour, so that guests see one subnet. Without
 * proxy_delay=0 the kernel waits up to 0.8 s before it does.
 */
export function tapSettings(taps: readonly string[]): string {
  return `set -e
cd /proc/sys/net/ipv4
for name in ${taps.join(' ')}; do
  echo 1 > conf/$name/proxy_arp
  echo 0 > conf/$name/rp_filter
  echo 0 > conf/$name/send_redirects
  echo 0 > neigh/$name/proxy_delay
done
`
}

/** A guest that calls another one's public address comes in and goes out by the same link. */
export function hostLinkSettings(dev: string): string {
  return `set -e
cd /proc/sys/net
echo 0 > ipv4/conf/${dev}/rp_filter
echo 0 > ipv4/conf/${dev}/send_redirects
echo 0 > ipv4/conf/${dev}/accept_redirects
if [ -d ipv6/conf/${dev} ]; then echo 1 > ipv6/conf/${dev}/disable_ipv6; fi
`
}
