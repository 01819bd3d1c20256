import { describe, expect, it } from 'vitest'
import { UID_BASE } from '../../core/machine-uid.ts'
import type { VpcSpec } from '../driver.ts'
import { portSpec, subnetSpec, vpcSpec } from '../../../test/support/vpc-spec.ts'
import { DesiredVpc } from './desired.ts'
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
const desiredOf = (spec: VpcSpec) => new DesiredVpc(spec, { names, present: new Set(), publicInterface: null })
const desired = desiredOf(spec)
const [subnet] = desired.frame.subnets.values()
const table = String(desired.frame.tables.get('rtb-01'))
const inet = (...addresses: string[]) => addresses.map((local) => ({ family: 'inet', local, prefixlen: 32 }))

/** What `ip -j` tells of a VPC that is as the spec says. */
const whole = (): Observed => ({
  links: [
    { ifname: 'lo', flags: ['UP'], mtu: 65536,
      addr_info: inet('127.0.0.1', '10.0.16.1', '10.0.0.2', '169.254.169.253', '169.254.169.254', '169.254.169.123') },
    { ifname: 'igw', flags: ['UP'], mtu: 1500, addr_info: inet(LINK.vpcAddress) },
    { ifname: tap, flags: ['UP'], mtu: 1500, ifalias: 'eni-5', addr_info: [] },
  ],
  routes: [
    { dst: 'default', gateway: LINK.hostAddress, dev: 'igw', table, flags: ['onlink'] },
    { type: 'unreachable', dst: '10.0.0.0/16' },
    { dst: '10.0.16.9', dev: tap, prefsrc: '10.0.16.1' },
  ],
  neighbours: [
    { dst: LINK.hostAddress, dev: 'igw', lladdr: LINK.hostMac, state: ['PERMANENT'] },
    { dst: '10.0.16.9', dev: tap, lladdr: '02:00:00:00:00:05', state: ['PERMANENT'] },
  ],
  rules: [
    { priority: 0, table: 'local' }, { priority: 100, table: 'main' },
    { priority: 1000, fwmark: `0x${subnet!.mark.toString(16)}`, table }, { priority: 32766, table: 'main' },
  ],
  proxies: [],
})

describe('planVpcLinks', () => {
  it('is empty where all is as it should be', () => {
    expect(planVpcLinks(desired, whole())).toEqual({ devices: [], taps: [], details: [] })
  })

  it('makes a tap of its own user, and marks it as finished last', () => {
    const observed = whole()
    observed.links.pop()
    observed.routes.pop()
    observed.neighbours.pop()
    const plan = planVpcLinks(desired, observed)
    expect(plan.devices).toEqual([`tuntap add dev ${tap} mode tap user ${UID_BASE + 5} vnet_hdr`])
    expect(plan.taps).toEqual([tap])
    expect(plan.details).toEqual([
      `link set dev ${tap} address 02:68:65:61:72:06 mtu 1500 up`,
      `route replace 10.0.16.9 dev ${tap} src 10.0.16.1`,
      `neigh replace 10.0.16.9 lladdr 02:00:00:00:00:05 dev ${tap} nud permanent`,
      `link set dev ${tap} alias eni-5`,
    ])
  })

  it('goes on with a tap whose making was cut short', () => {
    const observed = whole()
    observed.links[2] = { ifname: tap, flags: ['UP'], mtu: 1500 }
    expect(planVpcLinks(desired, observed))
      .toEqual({ devices: [], taps: [tap], details: [`link set dev ${tap} alias eni-5`] })
  })

  it('takes away the tap of a port that is gone, and nothing on it besides', () => {
    const plan = planVpcLinks(desiredOf({ ...spec, ports: [] }), whole())
    expect(plan).toEqual({ devices: [`link del dev ${tap}`], taps: [], details: [] })
  })

  it('corrects a neighbour that was only learned and a route to somebody else', () => {
    const observed = whole()
    observed.neighbours[1]!.state = ['REACHABLE']
    observed.routes.push({ dst: '10.0.16.77', dev: tap, prefsrc: '10.0.16.1' })
    expect(planVpcLinks(desired, observed).details).toEqual([
      `neigh replace 10.0.16.9 lladdr 02:00:00:00:00:05 dev ${tap} nud permanent`, `route del 10.0.16.77 dev ${tap}`,
    ])
  })
})

describe('the routes of subnets', () => {
  it('sends a subnet to another route table, and drops the rule of before', () => {
    const observed = whole()
    observed.rules[2]!.table = '77'
    observed.routes.push({ dst: '10.9.0.0/16', type: 'blackhole', table: '77' })
    const mark = subnet!.mark
    expect(planVpcLinks(desired, observed).details).toEqual([
      `rule add pref 1000 fwmark ${mark} lookup ${table}`, 'route del blackhole 10.9.0.0/16 table 77',
      `rule del pref 1000 fwmark ${mark} lookup 77`,
    ])
  })
})

describe('planHostLink', () => {
  const observed: Observed = {
    links: [{ ifname: dev, flags: ['UP'], mtu: 1500, addr_info: inet(LINK.hostAddress) }],
    routes: [{ dst: '198.18.4.9', gateway: LINK.vpcAddress, dev }],
    neighbours: [{ dst: LINK.vpcAddress, dev, lladdr: LINK.vpcMac, state: ['PERMANENT'] }],
    rules: [], proxies: [],
  }

  it('is empty where all is as it should be', () => {
    expect(planHostLink(desired, observed)).toEqual([])
  })

  it('moves a public address here, and gives back the one that is gone', () => {
    const elsewhere = { ...observed, routes: [
      { dst: '198.18.4.9', gateway: LINK.vpcAddress, dev: names.hostLink(3) },
      { dst: '198.18.4.8', gateway: LINK.vpcAddress, dev },
      { dst: '198.18.4.7', gateway: LINK.vpcAddress, dev: names.hostLink(3) },
    ] }
    expect(planHostLink(desired, elsewhere)).toEqual([
      `route replace 198.18.4.9 via ${LINK.vpcAddress} dev ${dev} onlink`, `route del 198.18.4.8 dev ${dev}`,
    ])
  })
})
