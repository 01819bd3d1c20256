import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import type { RuleTag } from '../model/recycle-rules.ts'
import { DEFAULT_RETENTION_DAYS, deleteRetention, retentionRules, setRetention, type RetentionRule } from '../model/retention.ts'
import type { Db } from '../store/store.ts'
import { accountIdOf, DEFAULT_NAME, withAccountStore } from './accounts.ts'
import { newCommand, settingsOf, withSettings } from './command.ts'
import { formatTable, type Terminal } from './terminal.ts'

/** `hearth retention set|list|delete`. */
export function addRetention(program: Command, terminal: Terminal): void {
  const retention = newCommand(program, 'retention', 'say which instances are kept for a while when they are terminated', [
    'hearth retention set --tag keep=yes --days 30', 'hearth retention list', 'hearth restore',
  ])
  const set = newCommand(retention, 'set', 'keep what has a tag, or every instance, for some days after it is terminated', [
    'hearth retention set --tag keep=yes --days 30', 'hearth retention set --days 2 --account team-b',
  ])
  set.option('--tag <key=value>', 'the tag; without it every instance is kept').requiredOption('--days <days>', '1 to 365')
  withSettings(withAccount(set)).action(async () => {
    const given = set.opts<{ tag?: string; days: string }>()
    const tag = given.tag === undefined ? null : readTag(given.tag)
    const rule = await inAccount(set, 'retention.set', (db, account) =>
      setRetention({ db, random: systemRandom, nowMs: systemClock.now() }, account, { tag, days: Number(given.days) }))
    terminal.out(set.opts().json ? JSON.stringify(viewOf(rule), null, 2) : formatRules([rule]))
  })
  const list = newCommand(retention, 'list', 'list the rules of an account', ['hearth retention list', 'hearth retention list --json'])
  withSettings(withAccount(list)).action(async () => {
    const rules = await withAccountStore(settingsOf(list), accountOf(list), (store) =>
      store.read(async (db) => retentionRules(db, await accountIdOf(db, accountOf(list)))))
    terminal.out(list.opts().json ? JSON.stringify(rules.map(viewOf), null, 2) : formatRules(rules))
    if (list.opts().json) return
    terminal.say(`without a rule: what was ever protected from termination, for ${DEFAULT_RETENTION_DAYS} days`)
  })
  const remove = newCommand(retention, 'delete', 'delete a rule; what it keeps already stays for its time', [
    'hearth retention delete retention-0123456789abcdef0',
  ])
  remove.argument('<rule>', 'its id')
  withSettings(withAccount(remove)).action(async (ruleId: string) => {
    await inAccount(remove, 'retention.delete', (db, account) => deleteRetention(db, account, ruleId))
    if (remove.opts().json) terminal.out(JSON.stringify({ ruleId }, null, 2))
  })
}

function withAccount(command: Command): Command {
  return command
    .option('--account <name>', 'whose instances, of the accounts that hearth account list has', DEFAULT_NAME)
    .option('--json', 'print it as JSON')
}

function accountOf(command: Command): string {
  return command.opts<{ account: string }>().account
}

function inAccount<T>(command: Command, name: string, body: (db: Db, account: string) => Promise<T>): Promise<T> {
  return withAccountStore(settingsOf(command), accountOf(command), (store) =>
    store.transaction(name, async (db) => body(db, await accountIdOf(db, accountOf(command)))))
}

/** KEY=VALUE; the value may be empty, and have a "=" in it. */
export function readTag(text: string): RuleTag {
  const at = text.indexOf('=')
  if (at < 1) throw new Error(`"${text}" is no tag; write it as KEY=VALUE`)
  return { key: text.slice(0, at), value: text.slice(at + 1) }
}

function viewOf({ createdMs, ...rule }: RetentionRule) {
  return { ...rule, created: new Date(createdMs).toISOString() }
}

/** The rules as a person reads them. */
export function formatRules(rules: readonly RetentionRule[]): string {
  return formatTable([
    ['RULE', 'KEEPS', 'DAYS'],
    ...rules.map(({ ruleId, tag, days }) => [ruleId, tag ? `${tag.key}=${tag.value}` : 'every instance', String(days)]),
  ])
}
