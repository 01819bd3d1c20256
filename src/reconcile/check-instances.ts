import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { inParallel } from '../core/parallel.ts'
import type { Hypervisor, MachineHealth } from '../hypervisor/driver.ts'
import { changeInstanceDoc, hasContact, instanceDoc, lastStartMs, type InstanceDoc } from '../model/instance.ts'
import { afterRound, failedChecks, mayRecover, type CheckRecord, type CheckResult } from '../model/status-check.ts'
import type { Network } from '../network/driver.ts'
import { groupBy } from '../store/batch.ts'
import { preparedIn } from '../store/prepared.ts'
import type { InstanceTable, InterfaceTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Gate } from './gate.ts'
import { isFatal } from './loop.ts'

const MACHINES_AT_ONCE = 16
const VPCS_AT_ONCE = 4

export interface CheckOptions {
  store: Store
  clock: Clock
  log: Logger
  hypervisor: Pick<Hypervisor, 'health' | 'observe'>
  network: Pick<Network, 'askPorts'>
  hostId: string
  /** Whose network the ports are in. */
  nodeId: string
  /** The zone has failed: nobody answers, and that says nothing of any machine. */
  gate?: Pick<Gate, 'isClosed'>
}

/** An instance as it was when its checks began. */
export interface Checked {
  row: InstanceTable
  doc: InstanceDoc
  /** When its guest last began to boot; what is found is of that boot. */
  startMs: number
  /** Its primary interface with the slots that name it in the kernel; null while that has no port. */
  port: { row: InterfaceTable; slot: number; vpcSlot: number } | null
}

/** What a round has found, what is known with it, and what of the row is not so. */
export interface Finding {
  checked: Checked
  record: CheckRecord
  change: Partial<InstanceDoc>
}

/** Checks instances that run and are not being restarted, and writes down what has changed. */
export async function checkInstances(
  options: CheckOptions,
  ids: readonly string[],
  recordBefore: (checked: Checked) => CheckRecord,
): Promise<Finding[]> {
  const { clock, hypervisor } = options
  const checked = await load(options, ids)
  const health = new Map(await inParallel(checked, MACHINES_AT_ONCE, async (each) =>
    [each, await hypervisor.health(each.row.instance_id)] as const))
  // The guest of a machine that stands still for a good reason is not asked.
  const answers = await askGuests(options, checked.filter((each) => ['running', 'silent'].includes(health.get(each) ?? '')))
  if (options.gate?.isClosed) return []
  const nowMs = clock.now()
  const findings: Finding[] = []
  for (const each of checked) {
    const result = judge(each, health.get(each) ?? 'absent', answers.get(each.port?.row.interface_id ?? ''))
    const record = afterRound(recordBefore(each), result, nowMs)
    findings.push({ checked: each, record, change: await changeOf(options, each, { record, result, nowMs }) })
  }
  await write(options, findings.filter(({ change }) => Object.keys(change).length > 0))
  return findings
}

const instancesIn = preparedIn((db, ids) =>
  db.selectFrom('instances').selectAll().where('instance_id', 'in', ids).where('state', '=', 'running')
    .whereRef('reboot_requested', '=', 'reboot_completed'))
const portsOf = preparedIn((db, ids) =>
  db.selectFrom('interfaces').selectAll().where('instance_id', 'in', ids).where('device_index', '=', 0).where('ready', '=', 1))
const vpcSlotsOf = preparedIn((db, ids, nodeId: string) =>
  db.selectFrom('slots').select(['owner_id', 'slot']).where('host_id', '=', nodeId).where('kind', '=', 'vpc').where('owner_id', 'in', ids))

async function load({ store, nodeId }: CheckOptions, ids: readonly string[]): Promise<Checked[]> {
  return store.read(async (db) => {
    const interfaces = new Map((await portsOf(db, ids)).map((each) => [each.instance_id, each]))
    const vpcIds = [...interfaces.values()].map((each) => each.vpc_id)
    const vpcSlots = new Map((await vpcSlotsOf(db, vpcIds, nodeId)).map((each) => [each.owner_id, each.slot]))
    return (await instancesIn(db, ids)).flatMap((row) => {
      const doc = instanceDoc(row)
      if (doc.recovery) return []
      const port = interfaces.get(row.instance_id)
      const vpcSlot = port && vpcSlots.get(port.vpc_id)
      const isPlaced = port !== undefined && port.slot !== null && vpcSlot !== undefined
      return { row, doc, startMs: lastStartMs(row, doc), port: isPlaced ? { row: port, slot: port.slot ?? 0, vpcSlot } : null }
    })
  })
}

/** Whether each guest answered, by interface. */
async function askGuests({ network, log }: CheckOptions, checked: readonly Checked[]): Promise<Map<string, boolean>> {
  const ports = checked.flatMap(({ port }) => port ?? [])
  const byVpc = [...groupBy(ports, ({ row }) => row.vpc_id)]
  const answers = await inParallel(byVpc, VPCS_AT_ONCE, async ([vpcId, [first, ...others]]) => {
    const asked = first ? [first, ...others] : []
    try {
      return [...await network.askPorts({ vpcId, slot: first?.vpcSlot ?? 0 }, asked.map(({ row, slot }) =>
        ({ interfaceId: row.interface_id, slot, mac: row.mac, privateIp: row.private_ip })))]
    } catch (error) {
      if (isFatal(error)) throw error
      log.warn('guests could not be asked whether they answer', { vpcId, error: messageOf(error) })
      return []
    }
  })
  return new Map(answers.flat())
}

function judge({ row, doc }: Checked, health: MachineHealth, hasAnswered: boolean | undefined): CheckResult {
  // Its end is the reconciler's business.
  if (health === 'absent') return { hasSystemPassed: null, hasInstancePassed: null }
  // One that has not been heard of since its start is still booting; how long it may is told by DescribeInstanceStatus.
  const isBooting = !hasContact(row, doc) && doc.platform?.accelerator !== 'sim'
  return {
    hasSystemPassed: health !== 'silent',
    hasInstancePassed: hasAnswered === undefined || (isBooting && !hasAnswered) ? null : hasAnswered,
  }
}

async function changeOf(
  { hypervisor, log }: CheckOptions,
  { row, doc }: Checked,
  { record, result, nowMs }: { record: CheckRecord; result: CheckResult; nowMs: number },
): Promise<Partial<InstanceDoc>> {
  const id = row.instance_id
  const change: Partial<InstanceDoc> = {}
  const checks = failedChecks(record)
  if (JSON.stringify(checks) !== JSON.stringify(doc.checks ?? null)) {
    if (checks) log.warn('an instance fails its status checks', { id, ...checks })
    else log.info('an instance passes its status checks again', { id })
    change.checks = checks
  }
  // A guest with an address that nobody had to give it is known to be up by its answer.
  if (result.hasInstancePassed && !hasContact(row, doc) && doc.platform?.accelerator !== 'sim') change.contactMs = nowMs
  if (mayRecover(record, doc, nowMs)) {
    const machine = await hypervisor.observe(id)
    if (machine.status === 'running') change.recovery = { cause: 'hang', pid: machine.pid }
  }
  return change
}

const runningRow = preparedIn((db, ids) =>
  db.selectFrom('instances').selectAll().where('instance_id', 'in', ids).where('state', '=', 'running'))

async function write({ store, clock, hostId }: CheckOptions, findings: readonly Finding[]): Promise<void> {
  if (findings.length === 0) return
  await store.transaction('instance.checked', async (db) => {
    const current = new Map((await runningRow(db, findings.map(({ checked }) => checked.row.instance_id))).map((row) => [row.instance_id, row]))
    for (const { checked, change } of findings) {
      const row = current.get(checked.row.instance_id)
      // What was seen of an earlier boot says nothing of this one.
      if (!row || lastStartMs(row, instanceDoc(row)) !== checked.startMs) continue
      await changeInstanceDoc(db, row.instance_id, change)
      if (change.recovery) await enqueue(db, { kind: 'instance', id: row.instance_id, hostId }, clock.now())
    }
  })
}
