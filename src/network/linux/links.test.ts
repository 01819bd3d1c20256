import { describe, expect, it } from 'vitest'
import { UID_BASE } from '../../core/machine-uid.ts'
import { portSpec, subnetSpec, vpcSpec } from '../../../test/support/vpc-spec.ts'
import { type Observed, planHostLink, planVpcLinks } from './links.ts'
import { createNames, LINK } from './names.ts'

const names = createNames('0abc')
const tap = names.tap(5)
const dev = names.hostLink(2)
const spec = vpcSpec({
  vpcId: 'vpc-1', slot: 2, subnets: [subnetSpec('subnet-1', '10.0.16.0/20')],
  ports: [portSpec({
    interfaceId: 'eni-5', subnetId: 'subnet-1', slot: 5, mac: '02:00:00:00:00:05', privateIp: '10.0.16.9',
    publicIp: '198.18.4.9',
  })],
})
const inet = (...addresses: string[]) => addresses.map((local) => ({ family: 'inet', local, prefixlen: 32 }))

/** What `ip -j` tells of a VPC that is as the spec says. */
const whole = (): Observed => ({
  links: [
    { ifname: 'lo', flags: ['UP'], mtu: 65536,
      addr_info: inet('127.0.0.1', '10.0.16.1', '10.0.0.2', '169.254.169.253', '169.254.169.254') },
    { ifname: 'igw', flags: ['UP'], mtu: 1500, addr_info: inet(LINK.vpcAddress) },
    { ifname: tap, flags: ['UP'], mtu: 1500, ifalias: 'eni-5', addr_info: [] },
  ],
  routes: [
    { dst: 'default', gateway: LINK.hostAddress, dev: 'igw', flags: ['onlink'] },
    { type: 'unreachable', dst: '10.0.0.0/16' },
    { dst: '10.0.16.9', dev: tap, prefsrc: '10.0.16.1' },
  ],
  neighbours: [
    { dst: LINK.hostAddress, dev: 'igw', lladdr: LINK.hostMac, state: ['PERMANENT'] },
    { dst: '10.0.16.9', dev: tap, lladdr: '02:00:00:00:00:05', state: ['PERMANENT'] },
  ],
})

describe('planVpcLinks', () => {
  it('is empty where all is as it should be', () => {
    expect(planVpcLinks(spec, names, whole())).toEqual({ devices: [], taps: [], details: [] })
  })

  it('makes a tap of its own user, and marks it as finished last', () => {
    const observed = whole()
    observed.links.pop()
    observed.routes.pop()
    observed.neighbours.pop()
    const plan = planVpcLinks(spec, names, observed)
    expect(plan.devices).toEqual([`tuntap add dev ${tap} mode tap user ${UID_BASE + 5} vnet_hdr`])
    expect(plan.taps).toEqual([tap])
    expect(plan.details).toEqual([
      `link set dev ${tap} mtu 1500 up`,
      `route replace 10.0.16.9/32 dev ${tap} src 10.0.16.1`,
      `neigh replace 10.0.16.9 lladdr 02:00:00:00:00:05 dev ${tap} nud permanent`,
      `link set dev ${tap} alias eni-5`,
    ])
  })

  it('goes on with a tap whose making was cut short', () => {
    const observed = whole()
    observed.links[2] = { ifname: tap, flags: ['UP'], mtu: 1500 }
    expect(planVpcLinks(spec, names, observed))
      .toEqual({ devices: [], taps: [tap], details: [`link set dev ${tap} alias eni-5`] })
  })

  it('takes away the tap of a port that is gone, and nothing on it besides', () => {
    const plan = planVpcLinks({ ...spec, ports: [] }, names, whole())
    expect(plan).toEqual({ devices: [`link del dev ${tap}`], taps: [], details: [] })
  })

  it('corrects a neighbour that was only learned and a route to somebody else', () => {
    const observed = whole()
    observed.neighbours[1]!.state = ['REACHABLE']
    observed.routes.push({ dst: '10.0.16.77', dev: tap, prefsrc: '10.0.16.1' })
    expect(planVpcLinks(spec, names, observed).details).toEqual([
      `neigh replace 10.0.16.9 lladdr 02:00:00:00:00:05 dev ${tap} nud permanent`, `route del 10.0.16.77 dev ${tap}`,
    ])
  })
})

describe('planHostLink', () => {
  const observed: Observed = {
    links: [{ ifname: dev, flags: ['UP'], mtu: 1500, addr_info: inet(LINK.hostAddress) }],
    routes: [{ dst: '198.18.4.9', gateway: LINK.vpcAddress, dev }],
    neighbours: [{ dst: LINK.vpcAddress, dev, lladdr: LINK.vpcMac, state: ['PERMANENT'] }],
  }

  it('is empty where all is as it should be', () => {
    expect(planHostLink(spec, names, observed)).toEqual([])
  })

  it('moves a public address here, and gives back the one that is gone', () => {
    const elsewhere = { ...observed, routes: [
      { dst: '198.18.4.9', gateway: LINK.vpcAddress, dev: names.hostLink(3) },
      { dst: '198.18.4.8', gateway: LINK.vpcAddress, dev },
      { dst: '198.18.4.7', gateway: LINK.vpcAddress, dev: names.hostLink(3) },
    ] }
    expect(planHostLink(spec, names, elsewhere)).toEqual([
      `route replace 198.18.4.9/32 via ${LINK.vpcAddress} dev ${dev} onlink`, `route del 198.18.4.8 dev ${dev}`,
    ])
  })
})
