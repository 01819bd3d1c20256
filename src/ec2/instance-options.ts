import type {
  ModifyInstanceCpuOptionsRequest, ModifyInstanceCpuOptionsResult, ModifyInstanceMaintenanceOptionsRequest,
  ModifyInstanceMaintenanceOptionsResult,
} from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { changeInstanceOptions, instanceDoc } from '../model/instance.ts'
import type { Context } from './context.ts'
import { refuseHibernated } from './hibernation.ts'
import { requireLivingInstance, requireStopped } from './instance-rows.ts'
import { resize } from './instance-size.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { sizeOf } from './run-instances-input.ts'
import { requestedCpu } from './run-instances-options.ts'

/**
 * ModifyInstanceCpuOptions: how many processors of its type a stopped instance has from its next start on.
 *
 * @throws ApiError IncorrectInstanceState, InvalidParameterValue for what the type does not offer, UnsupportedOperation
 *   for a hibernated instance and what Hearth does not honour.
 */
export async function modifyInstanceCpuOptions(
  context: Context,
  input: ModifyInstanceCpuOptionsRequest,
): Promise<ModifyInstanceCpuOptionsResult> {
  const row = await requireLivingInstance(context, input.InstanceId)
  requireStopped(row)
  refuseHibernated(row, 'its CPU options')
  const { CoreCount, ThreadsPerCore, NestedVirtualization } = input
  if (CoreCount === undefined && ThreadsPerCore === undefined && NestedVirtualization === undefined) {
    throw missingParameter('CoreCount')
  }
  const info = instanceType(row.instance_type)
  if (!info) throw new Error(`${row.instance_id} is of the unknown type ${row.instance_type}`)
  const cpu = requestedCpu({
    CpuOptions: {
      ...(CoreCount === undefined ? {} : { CoreCount }), ...(ThreadsPerCore === undefined ? {} : { ThreadsPerCore }),
      ...(NestedVirtualization === undefined ? {} : { NestedVirtualization }),
    },
  }, info)
  const size = sizeOf(row.instance_type, info)
  if (CoreCount !== undefined) {
    await resize(context, row, cpu ? { ...size, vcpus: cpu.coreCount * cpu.threadsPerCore } : size, cpu)
  }
  return { InstanceId: row.instance_id, CoreCount, ThreadsPerCore, NestedVirtualization }
}

/**
 * ModifyInstanceMaintenanceOptions: whether the instance is brought back when its host fails, and whether a reboot may stand for
 * a planned one. What is not named stays.
 *
 * @throws ApiError MissingParameter for a change of nothing, IncorrectInstanceState for an instance that ends.
 */
export async function modifyInstanceMaintenanceOptions(
  { db, ...context }: Context,
  input: ModifyInstanceMaintenanceOptionsRequest,
): Promise<ModifyInstanceMaintenanceOptionsResult> {
  const row = await requireLivingInstance({ db, ...context }, input.InstanceId)
  const asked = {
    autoRecovery: checkEnum('AutoRecovery', input.AutoRecovery, ['default', 'disabled']),
    rebootMigration: checkEnum('RebootMigration', input.RebootMigration, ['default', 'disabled']),
  }
  if (asked.autoRecovery === undefined && asked.rebootMigration === undefined) throw missingParameter('AutoRecovery')
  const { options } = instanceDoc(row)
  const { autoRecovery = options.autoRecovery, rebootMigration = options.rebootMigration } = asked
  await changeInstanceOptions(db, row.instance_id, { autoRecovery, rebootMigration })
  return { InstanceId: row.instance_id, AutoRecovery: autoRecovery, RebootMigration: rebootMigration }
}
