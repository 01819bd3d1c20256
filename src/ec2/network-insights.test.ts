import type { CreateNetworkInsightsPathRequest, NetworkInsightsAnalysis } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import {
  defaultNetwork, insertInstance, insertInterface, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, type TestStore,
} from '../../test/support/rows.ts'
import { ApiError } from '../core/errors.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { insertRule } from '../model/security-group.ts'
import type { Context } from './context.ts'
import {
  deleteNetworkInsightsAnalysis, describeNetworkInsightsAnalyses, startNetworkInsightsAnalysis,
} from './network-insights-analyses.ts'
import { createNetworkInsightsPath, deleteNetworkInsightsPath, describeNetworkInsightsPaths } from './network-insights-paths.ts'
import { createTags, describeTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

type Handler<Input, Output> = (context: Context, input: Input) => Promise<Output>
const call = <Input, Output>(handler: Handler<Input, Output>, input: Input, account?: string) =>
  test.run((context) => handler(context, input), account)
const failure = (attempt: Promise<unknown>) => attempt.then(() => 'no failure', (error: unknown) => {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`
  throw error
})

/** Two running instances of the default group in one subnet, the second with a public address. */
const network = () => test.run(async (context) => {
  const { subnet, groupId } = await defaultNetwork(context)
  const [a, b] = [await insertInstance(context), await insertInstance(context)]
  const near = await insertInterface(context, a, { private_ip: '172.31.0.10' })
  const far = await insertInterface(context, b, { private_ip: '172.31.0.11', public_ip: '198.18.0.7' })
  const { internet_gateway_id: gateway } = await context.db
    .selectFrom('internet_gateways').selectAll().where('vpc_id', '=', subnet.vpc_id).executeTakeFirstOrThrow()
  return { a: a.instance_id, b: b.instance_id, near: near.interface_id, far: far.interface_id, gateway, groupId, subnet }
})
const allow = (groupId: string, rule: { fromPort: number; cidr: string }) => test.run(({ db, random, account }) =>
  insertRule(db, random, { accountId: account, groupId, isEgress: false, protocol: 'tcp', toPort: rule.fromPort, ...rule }))

const createPath = async (input: Partial<CreateNetworkInsightsPathRequest>) =>
  (await call(createNetworkInsightsPath, { Protocol: 'tcp', DestinationPort: 22, Source: undefined, ...input })).NetworkInsightsPath
const analyse = async (input: Partial<CreateNetworkInsightsPathRequest>): Promise<NetworkInsightsAnalysis> => {
  const path = await createPath(input)
  const started = await call(startNetworkInsightsAnalysis, { NetworkInsightsPathId: path?.NetworkInsightsPathId })
  return started.NetworkInsightsAnalysis ?? {}
}
const ids = (components: NetworkInsightsAnalysis['ForwardPathComponents']) => components?.map((each) => each.Component?.Id)
const arn = (type: string, id: string) => `arn:aws:ec2:${REGION}:${DEFAULT_ACCOUNT}:${type}/${id}`

describe('a network insights path', () => {
  it('is shown as EC2 shows it', async () => {
    const { a, b } = await network()
    const TagSpecifications = [{ ResourceType: 'network-insights-path' as const, Tags: [{ Key: 'Name', Value: 'ssh' }] }]
    const path = await createPath({ Source: arn('instance', a), Destination: b, TagSpecifications })
    expect(path).toEqual({
      NetworkInsightsPathId: expect.stringMatching(/^nip-[0-9a-f]{17}$/),
      NetworkInsightsPathArn: arn('network-insights-path', path?.NetworkInsightsPathId ?? ''),
      CreatedDate: new Date(NOW_MS), Source: a, SourceArn: arn('instance', a), Destination: b, DestinationArn: arn('instance', b),
      Protocol: 'tcp', DestinationPort: 22, Tags: [{ Key: 'Name', Value: 'ssh' }],
    })
    expect((await call(describeNetworkInsightsPaths, {})).NetworkInsightsPaths).toEqual([path])
    expect((await call(describeNetworkInsightsPaths, {}, OTHER_ACCOUNT)).NetworkInsightsPaths).toEqual([])
  })

  it('has ends that exist and are of a kind that there is', async () => {
    const { a, b, gateway } = await network()
    const refused = (input: Partial<CreateNetworkInsightsPathRequest>) => failure(createPath({ Source: a, Destination: b, ...input }))
    expect(await refused({ Source: 'web' })).toBe('InvalidParameterValue: Value (web) for parameter Source is invalid.')
    expect(await refused({ Destination: 'i-00000000' })).toMatch(/^InvalidInstanceID.NotFound: .*'i-00000000'/)
    expect(await refused({ Destination: 'eni-00000000' })).toMatch(/^InvalidNetworkInterfaceID.NotFound/)
    expect(await refused({ Destination: 'igw-00000000' })).toMatch(/^InvalidInternetGatewayID.NotFound/)
    expect(await refused({ Source: 'tgw-00000000' })).toMatch(/^UnsupportedOperation/)
    expect(await refused({ Source: `arn:aws:ec2:${REGION}:${OTHER_ACCOUNT}:instance/${a}` })).toMatch(/^UnsupportedOperation/)
    expect(await refused({ Destination: undefined })).toMatch(/^MissingParameter: .*Destination/)
    expect(await refused({ Destination: a })).toMatch(/^InvalidParameterValue/)
    expect(await refused({ Source: gateway, Destination: gateway })).toMatch(/^InvalidParameterValue/)
    expect(await refused({ DestinationPort: 70_000 })).toMatch(/^InvalidParameterValue/)
    expect(await refused({ DestinationIp: '10.0.0' })).toMatch(/^InvalidParameterValue/)
    expect(await refused({ Protocol: 'icmp' as 'tcp' })).toMatch(/^InvalidParameterValue/)
    expect(await refused({ FilterAtSource: { SourceAddress: '10.0.0.1' } })).toMatch(/^UnsupportedOperation/)
    expect((await call(describeNetworkInsightsPaths, {})).NetworkInsightsPaths).toEqual([])
  })

  it('is made once per token', async () => {
    const { a, b } = await network()
    const first = await createPath({ Source: a, Destination: b, ClientToken: 'once' })
    expect(await createPath({ Source: a, Destination: b, ClientToken: 'once' })).toEqual(first)
    expect(await failure(createPath({ Source: b, Destination: a, ClientToken: 'once' }))).toMatch(/^IdempotentParameterMismatch/)
  })

  it('is found by its filters, in pages', async () => {
    const { a, b, gateway } = await network()
    const one = await createPath({ Source: a, Destination: b })
    const two = await createPath({ Source: gateway, Destination: b, Protocol: 'udp' })
    await call(createTags, { Resources: [two?.NetworkInsightsPathId ?? ''], Tags: [{ Key: 'team', Value: 'x' }] })
    const found = async (Name: string, value: string) =>
      (await call(describeNetworkInsightsPaths, { Filters: [{ Name, Values: [value] }] })).NetworkInsightsPaths
        ?.map((each) => each.NetworkInsightsPathId)
    expect(await found('source', a)).toEqual([one?.NetworkInsightsPathId])
    expect(await found('destination', b)).toHaveLength(2)
    expect(await found('protocol', 'udp')).toEqual([two?.NetworkInsightsPathId])
    expect(await found('tag:team', 'x')).toEqual([two?.NetworkInsightsPathId])
    const unknown = DOCUMENTED_FILTERS.DescribeNetworkInsightsPaths.filter((name) => name.startsWith('filter-at-'))
    for (const name of unknown) expect(await found(name, '*')).toEqual([])
    const every = DOCUMENTED_FILTERS.DescribeNetworkInsightsPaths.map((Name) => ({ Name, Values: ['*'] }))
    expect((await call(describeNetworkInsightsPaths, { Filters: every })).NetworkInsightsPaths).toEqual([])
    const page = await call(describeNetworkInsightsPaths, { MaxResults: 1 })
    const rest = await call(describeNetworkInsightsPaths, { MaxResults: 1, NextToken: page.NextToken })
    expect([...page.NetworkInsightsPaths ?? [], ...rest.NetworkInsightsPaths ?? []]).toHaveLength(2)
    expect(await failure(call(describeNetworkInsightsPaths, { MaxResults: 101 }))).toMatch(/^InvalidParameterValue/)
    expect(await failure(call(describeNetworkInsightsPaths, { NetworkInsightsPathIds: ['nip-00000000'] })))
      .toMatch(/^InvalidNetworkInsightsPathId.NotFound/)
  })

  it('goes with its tags, once it has no analyses', async () => {
    const { a, b } = await network()
    const { NetworkInsightsPathId, NetworkInsightsAnalysisId } = await analyse({ Source: a, Destination: b })
    expect(await failure(call(deleteNetworkInsightsPath, { NetworkInsightsPathId }))).toMatch(/^AnalysisExistsForNetworkInsightsPath/)
    await call(createTags, { Resources: [NetworkInsightsPathId ?? '', NetworkInsightsAnalysisId ?? ''], Tags: [{ Key: 'k', Value: 'v' }] })
    expect((await call(describeTags, {})).Tags?.map((tag) => tag.ResourceType))
      .toEqual(['network-insights-analysis', 'network-insights-path'])
    expect(await call(deleteNetworkInsightsAnalysis, { NetworkInsightsAnalysisId })).toEqual({ NetworkInsightsAnalysisId })
    expect(await failure(call(deleteNetworkInsightsPath, { NetworkInsightsPathId }, OTHER_ACCOUNT))).toMatch(/NotFound/)
    expect(await call(deleteNetworkInsightsPath, { NetworkInsightsPathId })).toEqual({ NetworkInsightsPathId })
    expect((await call(describeTags, {})).Tags).toEqual([])
    expect(await failure(call(deleteNetworkInsightsPath, { NetworkInsightsPathId }))).toMatch(/^InvalidNetworkInsightsPathId.NotFound/)
  })
})

describe('an analysis', () => {
  it('names the components of the way there and of the way back', async () => {
    const { a, b, near, far, groupId, subnet } = await network()
    const analysis = await analyse({ Source: a, Destination: b })
    expect(analysis).toMatchObject({ Status: 'succeeded', NetworkPathFound: true, Explanations: [], StartDate: new Date(NOW_MS) })
    expect(ids(analysis.ForwardPathComponents)).toEqual([a, near, groupId, groupId, far, b])
    expect(ids(analysis.ReturnPathComponents)).toEqual([b, far, near, a])
    expect(analysis.ForwardPathComponents?.slice(0, 3)).toEqual([
      { SequenceNumber: 1, Component: { Id: a, Arn: arn('instance', a) } },
      {
        SequenceNumber: 2, Component: { Id: near, Arn: arn('network-interface', near) }, AttachedTo: { Id: a, Arn: arn('instance', a) },
        Vpc: { Id: subnet.vpc_id, Arn: arn('vpc', subnet.vpc_id) }, Subnet: { Id: subnet.subnet_id, Arn: arn('subnet', subnet.subnet_id) },
        OutboundHeader: {
          Protocol: '6', SourceAddresses: ['172.31.0.10/32'], DestinationAddresses: ['172.31.0.11/32'],
          SourcePortRanges: [{ From: 49_152, To: 49_152 }], DestinationPortRanges: [{ From: 22, To: 22 }],
        },
      },
      {
        SequenceNumber: 3, Component: { Id: groupId, Arn: arn('security-group', groupId) },
        Vpc: { Id: subnet.vpc_id, Arn: arn('vpc', subnet.vpc_id) },
        SecurityGroupRule: { SecurityGroupId: groupId, Cidr: '0.0.0.0/0', Direction: 'egress', Protocol: 'all' },
      },
    ])
  })

  it('explains what stands in the way, and finds the way once it is gone', async () => {
    const { b, far, gateway, groupId, subnet } = await network()
    const path = await createPath({ Source: gateway, Destination: b })
    const start = async () => (await call(startNetworkInsightsAnalysis, { NetworkInsightsPathId: path?.NetworkInsightsPathId }))
      .NetworkInsightsAnalysis
    const vpc = { Id: subnet.vpc_id, Arn: arn('vpc', subnet.vpc_id) }
    expect(await start()).toMatchObject({
      NetworkPathFound: false, ForwardPathComponents: [],
      Explanations: [{
        ExplanationCode: 'ENI_SG_RULES_MISMATCH', Direction: 'ingress', Vpc: vpc,
        NetworkInterface: { Id: far }, SecurityGroups: [{ Id: groupId }], Subnet: { Id: subnet.subnet_id },
      }],
    })
    // AWS asks whether anybody outside gets through.
    await allow(groupId, { fromPort: 22, cidr: '198.51.100.7/32' })
    const found = await start()
    expect(found?.NetworkPathFound).toBe(true)
    expect(ids(found?.ForwardPathComponents)?.[0]).toBe(gateway)
    expect(ids(found?.ForwardPathComponents)?.at(-1)).toBe(b)
    const header = found?.ForwardPathComponents?.find((each) => each.Component?.Id === far)?.InboundHeader
    expect(header?.SourceAddresses).toEqual(['198.51.100.7/32'])
    const listed = await call(describeNetworkInsightsAnalyses, { NetworkInsightsPathId: path?.NetworkInsightsPathId })
    expect(listed.NetworkInsightsAnalyses).toHaveLength(2)
  })

  it('finds any port where the path names none', async () => {
    const { b, gateway, groupId } = await network()
    await allow(groupId, { fromPort: 8443, cidr: '0.0.0.0/0' })
    const analysis = await analyse({ Source: gateway, Destination: b, DestinationPort: undefined })
    expect(analysis.NetworkPathFound).toBe(true)
    expect(analysis.ForwardPathComponents?.[0]?.OutboundHeader?.DestinationPortRanges).toEqual([{ From: 8443, To: 8443 }])
  })

  it('leads out by an internet gateway from a public address, and to an address alone', async () => {
    const { a, b, gateway } = await network()
    expect(await analyse({ Source: b, Destination: gateway })).toMatchObject({ NetworkPathFound: true })
    expect(await analyse({ Source: b, DestinationIp: '192.0.2.1' })).toMatchObject({ NetworkPathFound: true })
    expect((await analyse({ Source: a, Destination: gateway })).Explanations).toMatchObject([
      { ExplanationCode: 'IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS', InternetGateway: { Id: gateway } }])
    expect(await analyse({ Source: a, Destination: b, SourceIp: '172.31.0.99' })).toMatchObject({ NetworkPathFound: false })
  })

  it('does not take another interface for the one that was asked for', async () => {
    const { a, b, far } = await network()
    expect(await analyse({ Source: a, Destination: far, DestinationIp: '172.31.0.11' })).toMatchObject({ NetworkPathFound: true })
    expect((await analyse({ Source: b, Destination: a, DestinationIp: '172.31.0.11' })).Explanations)
      .toMatchObject([{ ExplanationCode: 'NO_POSSIBLE_DESTINATION' }])
  })

  it('judges stopped instances as if they ran, and unattached interfaces as unattached', async () => {
    const { a, b, far } = await network()
    await test.run(({ db }) => db.updateTable('interfaces').set({ wanted: 0, slot: null }).execute())
    expect(await analyse({ Source: a, Destination: b })).toMatchObject({ NetworkPathFound: true })
    await test.run(({ db }) => db.updateTable('interfaces').set({ instance_id: null, status: 'available' }).where('interface_id', '=', far).execute())
    expect((await analyse({ Source: far, Destination: a })).Explanations)
      .toMatchObject([{ ExplanationCode: 'BAD_STATE', NetworkInterface: { Id: far } }])
    expect((await analyse({ Source: a, Destination: far })).Explanations).toMatchObject([{ ExplanationCode: 'NO_POSSIBLE_DESTINATION' }])
  })

  it('says so when an end is gone, or its gateway detached', async () => {
    const { a, b, gateway } = await network()
    const path = await createPath({ Source: a, Destination: b })
    const out = await createPath({ Source: b, Destination: gateway })
    await test.run(async ({ db }) => {
      await db.deleteFrom('interface_groups').execute()
      await db.deleteFrom('interfaces').where('instance_id', '=', a).execute()
      await db.updateTable('internet_gateways').set({ vpc_id: null }).execute()
    })
    const start = async (id: string | undefined) =>
      (await call(startNetworkInsightsAnalysis, { NetworkInsightsPathId: id })).NetworkInsightsAnalysis
    const failed = await start(path?.NetworkInsightsPathId)
    expect(failed).toMatchObject({ Status: 'failed', StatusMessage: `The request failed due to missing component ${a}` })
    expect(failed?.NetworkPathFound).toBeUndefined()
    expect((await start(out?.NetworkInsightsPathId))?.Explanations).toMatchObject([{ ExplanationCode: 'BAD_STATE_ATTACHMENT' }])
  })

  it('is found by filters, times and ids, and started once per token', async () => {
    const { a, b } = await network()
    const NetworkInsightsPathId = (await createPath({ Source: a, Destination: b }))?.NetworkInsightsPathId
    const start = (ClientToken: string) => call(startNetworkInsightsAnalysis, { NetworkInsightsPathId, ClientToken })
    const first = await start('one')
    expect(await start('one')).toEqual(first)
    const list = async (input: object) => (await call(describeNetworkInsightsAnalyses, input)).NetworkInsightsAnalyses?.length
    expect(await list({ Filters: [{ Name: 'path-found', Values: ['true'] }] })).toBe(1)
    expect(await list({ Filters: [{ Name: 'status', Values: ['failed'] }] })).toBe(0)
    expect(await list({ Filters: DOCUMENTED_FILTERS.DescribeNetworkInsightsAnalyses.map((Name) => ({ Name, Values: ['*'] })) })).toBe(1)
    expect(await list({ AnalysisStartTime: new Date(NOW_MS + 1) })).toBe(0)
    expect(await list({ AnalysisEndTime: new Date(NOW_MS - 1) })).toBe(0)
    expect(await list({ AnalysisStartTime: new Date(NOW_MS), AnalysisEndTime: new Date(NOW_MS) })).toBe(1)
    expect(await failure(list({ NetworkInsightsAnalysisIds: ['nia-00000000'] }))).toMatch(/^InvalidNetworkInsightsAnalysisId.NotFound/)
    expect(await failure(call(startNetworkInsightsAnalysis, { NetworkInsightsPathId, FilterInArns: ['x'] }))).toMatch(/^UnsupportedOperation/)
    expect(await failure(call(startNetworkInsightsAnalysis, { NetworkInsightsPathId: 'nip-00000000' }))).toMatch(/NotFound/)
  })
})
