import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import {
  attachInternetGateway, createInternetGateway, deleteInternetGateway, describeInternetGateways, detachInternetGateway,
} from './internet-gateways.ts'

let lab: RoutingLab
let vpcId: string
beforeEach(async () => {
  lab = await openRoutingLab()
  vpcId = await lab.addVpc('10.0.0.0/16')
})
afterEach(() => lab.store.close())

const create = async (account?: string) =>
  (await lab.call(createInternetGateway, {}, account)).InternetGateway?.InternetGatewayId ?? ''
const attach = (InternetGatewayId: string, VpcId = vpcId) => ({ InternetGatewayId, VpcId })
const found = async (Name: string, value: string) =>
  ((await lab.call(describeInternetGateways, { Filters: [{ Name, Values: [value] }] })).InternetGateways ?? [])
    .map((gateway) => gateway.InternetGatewayId)

describe('an internet gateway', () => {
  it('is made, attached, detached and deleted', async () => {
    const made = await lab.call(createInternetGateway, {
      TagSpecifications: [{ ResourceType: 'internet-gateway', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    const id = made.InternetGateway?.InternetGatewayId ?? ''
    const gateway = { InternetGatewayId: id, OwnerId: DEFAULT_ACCOUNT, Attachments: [], Tags: [{ Key: 'a', Value: 'b' }] }
    expect(made).toEqual({ InternetGateway: gateway })
    expect(await lab.failure(detachInternetGateway, attach(id))).toBe(`Gateway.NotAttached: resource ${id} is not attached to network ${vpcId}`)
    await lab.call(attachInternetGateway, attach(id))
    const { InternetGateways: [shown] = [] } = await lab.call(describeInternetGateways, { InternetGatewayIds: [id] })
    expect(shown).toEqual({ ...gateway, Attachments: [{ VpcId: vpcId, State: 'available' }] })
    expect(await lab.failure(deleteInternetGateway, { InternetGatewayId: id }))
      .toBe(`DependencyViolation: The internetGateway '${id}' has dependencies and cannot be deleted.`)
    await lab.call(detachInternetGateway, attach(id))
    await lab.call(deleteInternetGateway, { InternetGatewayId: id })
    expect(await lab.failure(deleteInternetGateway, { InternetGatewayId: id }))
      .toBe(`InvalidInternetGatewayID.NotFound: The internetGateway ID '${id}' does not exist`)
  })

  it('has one VPC, and a VPC one gateway', async () => {
    const [first, second] = [await create(), await create()]
    await lab.call(attachInternetGateway, attach(first))
    expect(await lab.failure(attachInternetGateway, attach(first, await lab.addVpc('10.1.0.0/16'))))
      .toBe(`Resource.AlreadyAssociated: resource ${first} is already attached to network ${vpcId}`)
    expect(await lab.failure(attachInternetGateway, attach(second)))
      .toBe(`InvalidParameterValue: Network ${vpcId} already has an internet gateway attached`)
  })

  it('stays while a public address of the VPC needs it', async () => {
    const id = await create()
    await lab.call(attachInternetGateway, attach(id))
    const { interfaceId } = await lab.addInstance(await lab.addSubnet(vpcId, '10.0.0.0/24'), '10.0.0.10')
    const setPublic = (public_ip: string | null) => lab.query((db) =>
      db.updateTable('interfaces').set({ public_ip }).where('interface_id', '=', interfaceId).execute())
    await setPublic('198.18.0.7')
    expect(await lab.failure(detachInternetGateway, attach(id))).toBe(`DependencyViolation: Network ${vpcId} has some mapped ` +
      'public address(es). Please unmap those public address(es) before detaching the gateway.')
    await setPublic(null)
    await lab.takeWork()
    await lab.call(detachInternetGateway, attach(id))
    expect(await lab.takeWork()).toEqual([`vpc ${vpcId}`])
  })

  it('is one of five at most', async () => {
    // The default VPC has one.
    for (let n = 1; n < 5; n++) await create()
    expect(await lab.failure(createInternetGateway, {}))
      .toBe('InternetGatewayLimitExceeded: The maximum number of internet gateways has been reached.')
  })

  it("is its account's own", async () => {
    const foreign = await create(OTHER_ACCOUNT)
    expect(await lab.failure(attachInternetGateway, attach(foreign))).toMatch(/^InvalidInternetGatewayID.NotFound/)
    expect(await lab.failure(describeInternetGateways, { InternetGatewayIds: [foreign] })).toMatch(/^InvalidInternetGatewayID.NotFound/)
    expect(await lab.failure(deleteInternetGateway, { InternetGatewayId: 'igw-1' })).toMatch(/^InvalidInternetGatewayId.Malformed/)
  })

  it('is found by its filters', async () => {
    const id = await create()
    await lab.call(attachInternetGateway, attach(id))
    expect(await found('attachment.vpc-id', vpcId)).toEqual([id])
    expect(await found('attachment.state', 'available')).toHaveLength(2)
    expect(await found('internet-gateway-id', id)).toEqual([id])
    expect(await found('owner-id', DEFAULT_ACCOUNT)).toHaveLength(2)
  })

  it.each(DOCUMENTED_FILTERS.DescribeInternetGateways)('knows the filter %s', async (name) => {
    expect(await found(name, 'nothing')).toEqual([])
  })
})
