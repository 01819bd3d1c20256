import type { SecurityGroupRuleTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { MAX_ROUTES } from './routes.ts'
import { wakeGroup, wakeVpc } from './security-group-lookup.ts'
import { exceedsRules, loadLists, rulesInDirection, type Direction } from './security-group-rules.ts'

/** What names a prefix list. */
export interface PrefixListUser {
  /** A security group or a route table. */
  id: string
  accountId: string
  vpcId: string
  kind: 'group' | 'route-table'
}

/** Groups and route tables that name the list, each once, by id. */
export async function prefixListUsers(db: Db, prefixListId: string): Promise<PrefixListUser[]> {
  const groups = await db
    .selectFrom('security_group_rules')
    .innerJoin('security_groups', 'security_groups.group_id', 'security_group_rules.group_id')
    .select(['security_groups.group_id as id', 'security_groups.account_id as accountId', 'vpc_id as vpcId']).distinct()
    .where('prefix_list_id', '=', prefixListId).execute()
  const tables = await db
    .selectFrom('routes').innerJoin('route_tables', 'route_tables.route_table_id', 'routes.route_table_id')
    .select(['route_tables.route_table_id as id', 'route_tables.account_id as accountId', 'vpc_id as vpcId'])
    .where('destination', '=', prefixListId).execute()
  return [
    ...groups.map((group) => ({ ...group, kind: 'group' as const })),
    ...tables.map((table) => ({ ...table, kind: 'route-table' as const })),
  ].toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** Has the network put what the list has now in force wherever it is named. */
export async function wakeUsers({ db, nowMs }: Context, prefixListId: string): Promise<void> {
  const users = await prefixListUsers(db, prefixListId)
  for (const user of users) {
    if (user.kind === 'group') await wakeGroup(db, { group_id: user.id, vpc_id: user.vpcId }, nowMs)
  }
  const vpcIds = users.flatMap((user) => (user.kind === 'route-table' ? [user.vpcId] : []))
  for (const vpcId of new Set(vpcIds)) await wakeVpc(db, vpcId, nowMs)
}

/** Ids of what could not bear the list with that many entries: groups by their quota of rules, tables by that of routes. */
export async function usersThatCannotBear(db: Db, prefixListId: string, maxEntries: number): Promise<string[]> {
  const ids: string[] = []
  for (const { id, kind } of await prefixListUsers(db, prefixListId)) {
    const can = kind === 'group'
      ? await canGroupBear(db, id, prefixListId, maxEntries)
      : await canTableBear(db, id, prefixListId, maxEntries)
    if (!can) ids.push(id)
  }
  return ids
}

async function canGroupBear(db: Db, groupId: string, prefixListId: string, maxEntries: number): Promise<boolean> {
  const directions: Direction[] = ['ingress', 'egress']
  for (const direction of directions) {
    const rules: SecurityGroupRuleTable[] = await rulesInDirection(db, groupId, direction)
    if (rules.every((rule) => rule.prefix_list_id !== prefixListId)) continue
    const lists = await loadLists(db, rules)
    const list = lists.get(prefixListId)
    if (list) lists.set(prefixListId, { ...list, max_entries: maxEntries })
    if (exceedsRules(rules, lists)) return false
  }
  return true
}

async function canTableBear(db: Db, routeTableId: string, prefixListId: string, maxEntries: number): Promise<boolean> {
  const routes = await db
    .selectFrom('routes').leftJoin('prefix_lists', 'prefix_lists.prefix_list_id', 'routes.destination')
    .select(['destination', 'max_entries']).where('route_table_id', '=', routeTableId).execute()
  const weights = routes.map((route) => (route.destination === prefixListId ? maxEntries : route.max_entries ?? 1))
  return weights.reduce((sum, weight) => sum + weight, 0) <= MAX_ROUTES
}
