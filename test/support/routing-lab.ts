import type { CreateSubnetRequest, CreateVpcRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../../src/core/errors.ts'
import type { Context } from '../../src/ec2/context.ts'
import { createSubnet } from '../../src/ec2/create-subnet.ts'
import { createVpc } from '../../src/ec2/create-vpc.ts'
import { describeRouteTables } from '../../src/ec2/route-tables.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { insertInstance, insertInterface, NOW_MS, openTestStore } from './rows.ts'

type Handler<Input, Output> = (context: Context, input: Input) => Promise<Output>

/** Networks of one or two accounts in a fresh test store, as their users see them. */
export interface RoutingLab {
  store: Store
  /** Runs a handler in a transaction, as the default account unless another is given. */
  call<Input, Output>(handler: Handler<Input, Output>, input: Input, account?: string): Promise<Output>
  /** "Code: message" of the ApiError that the handler ends in. */
  failure<Input>(handler: Handler<Input, unknown>, input: Input, account?: string): Promise<string>
  query<T>(body: (db: Db) => Promise<T>): Promise<T>
  /** Moves the time of calls on. */
  pass(ms: number): void
  addVpc(CidrBlock: string, more?: Partial<CreateVpcRequest>, account?: string): Promise<string>
  addSubnet(VpcId: string, CidrBlock: string, more?: Partial<CreateSubnetRequest>): Promise<string>
  /** A running instance with one interface in the subnet. */
  addInstance(subnetId: string, privateIp: string): Promise<{ instanceId: string; interfaceId: string }>
  mainTableOf(vpcId: string): Promise<{ tableId: string; associationId: string }>
  /** Kinds and ids of the work that is due, and forgets it. */
  takeWork(): Promise<string[]>
}

export async function openRoutingLab(seed = 1): Promise<RoutingLab> {
  const { store, run } = await openTestStore(seed)
  let nowMs = NOW_MS
  const query = <T>(body: (db: Db) => Promise<T>) => run(({ db }) => body(db))
  const call: RoutingLab['call'] = (handler, input, account = DEFAULT_ACCOUNT) => {
    nowMs += 1
    return run((context) => handler({ ...context, nowMs }, input), account)
  }
  return {
    store, call, query,
    failure: (handler, input, account) => call(handler, input, account).then(() => 'no failure', apiErrorText),
    pass: (ms) => void (nowMs += ms),
    addVpc: async (CidrBlock, more = {}, account = DEFAULT_ACCOUNT) =>
      (await call(createVpc, { CidrBlock, ...more }, account)).Vpc?.VpcId ?? '',
    addSubnet: async (VpcId, CidrBlock, more = {}) =>
      (await call(createSubnet, { VpcId, CidrBlock, ...more })).Subnet?.SubnetId ?? '',
    addInstance: (subnetId, privateIp) => run(async (context) => {
      const subnet = await context.db
        .selectFrom('subnets').selectAll().where('subnet_id', '=', subnetId).executeTakeFirstOrThrow()
      const instance = await insertInstance(context, { subnet_id: subnetId, vpc_id: subnet.vpc_id })
      const port = await insertInterface(context, instance, { private_ip: privateIp })
      await context.db
        .deleteFrom('interface_groups').where('interface_id', '=', port.interface_id).execute()
      return { instanceId: instance.instance_id, interfaceId: port.interface_id }
    }),
    mainTableOf: async (vpcId) => {
      const { RouteTables: tables = [] } = await call(describeRouteTables, {
        Filters: [{ Name: 'vpc-id', Values: [vpcId] }, { Name: 'association.main', Values: ['true'] }],
      })
      const [table] = tables
      return { tableId: table?.RouteTableId ?? '', associationId: table?.Associations?.[0]?.RouteTableAssociationId ?? '' }
    },
    takeWork: () => query(async (db) => {
      const rows = await db.selectFrom('work').select(['kind', 'id']).orderBy('kind').orderBy('id').execute()
      await db.deleteFrom('work').execute()
      return rows.map((row) => `${row.kind} ${row.id}`)
    }),
  }
}

function apiErrorText(error: unknown): string {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`
  throw error
}
