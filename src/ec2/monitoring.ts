import type {
  MonitorInstancesRequest, MonitorInstancesResult, MonitoringState, UnmonitorInstancesRequest, UnmonitorInstancesResult,
} from '@aws-sdk/client-ec2'
import { changeInstanceOptions, instanceDoc } from '../model/instance.ts'
import type { Context } from './context.ts'
import { requireInstances } from './instance-rows.ts'

/** MonitorInstances: answers `pending` for what is switched on now; the next description says `enabled`. */
export async function monitorInstances(context: Context, input: MonitorInstancesRequest): Promise<MonitorInstancesResult> {
  return { InstanceMonitorings: await switchMonitoring(context, input.InstanceIds, 'enabled', 'pending') }
}

/** UnmonitorInstances: answers `disabling` for what is switched off now; the next description says `disabled`. */
export async function unmonitorInstances(
  context: Context,
  input: UnmonitorInstancesRequest,
): Promise<UnmonitorInstancesResult> {
  return { InstanceMonitorings: await switchMonitoring(context, input.InstanceIds, 'disabled', 'disabling') }
}

async function switchMonitoring(
  context: Context,
  ids: string[] | undefined,
  monitoring: 'enabled' | 'disabled',
  onTheWay: MonitoringState,
) {
  const answers = []
  for (const row of await requireInstances(context, ids)) {
    const isThere = instanceDoc(row).options.monitoring === monitoring
    if (!isThere) await changeInstanceOptions(context.db, row.instance_id, { monitoring })
    answers.push({ InstanceId: row.instance_id, Monitoring: { State: isThere ? monitoring : onTheWay } })
  }
  return answers
}
