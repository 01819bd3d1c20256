import { changeInstanceDoc } from '../model/instance.ts'
import { recentRecoveries } from '../model/status-check.ts'
import { hostBootIdOf } from '../model/zone.ts'
import { restWorkOf } from './attached-volumes.ts'
import { lacksPrimaryPort, PORT_WAIT_MS } from './interfaces.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { again, isFatal, recording, type Outcome } from './loop.ts'
import { machineSpec, noteColdStart } from './machine-spec.ts'
import { noteStartFailure } from './note-start-failure.ts'
import type { Recovery } from './plan-instance.ts'
import { afterStart } from './record-running.ts'
import { settleVolumes } from './settle-volumes.ts'

/**
 * Whether the instance's machine was lost with its host (which was restarted, or lost its power with its zone), or hangs, and
 * what is to become of that. A machine that ended by itself, or was killed, is none of this: that is an instance that has stopped.
 */
export function recoveryOf(
  { hostBootId }: Pick<InstanceReconcilerOptions, 'hostBootId'>,
  { row, doc, zone }: Pick<LoadedInstance, 'row' | 'doc' | 'zone'>,
): Recovery {
  if (row.state !== 'running') return 'none'
  if (doc.recovery) return doc.recovery.cause
  // Rows of earlier versions do not say in which run of the host their machine was started.
  if (doc.hostBootId === undefined || doc.hostBootId === hostBootIdOf(hostBootId, zone.powerCuts)) return 'none'
  return doc.options.autoRecovery === 'disabled' ? 'host-failure' : 'restart'
}

/**
 * Ends the machine, where there is one, and starts it again in the same place: same id and addresses, memory lost. One that
 * answers again by now is left alone. That it is being done is written down before the start, so that whoever goes on
 * after a crash tells the new machine from the old one.
 */
export async function recover(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { clock, hypervisor, log } = options
  const { row: { instance_id: id }, doc, volumes } = loaded
  const recovery = doc.recovery ?? { cause: 'restart', pid: null }
  const machine = await hypervisor.observe(id)
  // Where nothing of a recovery is written down none has begun: a machine that is there has outlived the run that it was
  // started in, as one may whose host was no more when the zone's loss of power was put in force.
  const isOld = machine.status !== 'absent' && (!doc.recovery || machine.pid === recovery.pid)
  if (isOld && recovery.cause === 'hang' && (await hypervisor.health(id)) !== 'silent') {
    log.info('a machine answers again and is not replaced', { id })
    return recording('instance.recovery-dropped', (db) => changeInstanceDoc(db, id, { recovery: null }), again(0))
  }
  if (isOld || machine.status === 'absent') {
    await hypervisor.ensureStopped(id)
    if (restWorkOf(volumes) === 'before-start') return settleVolumes(options, loaded)
    if (lacksPrimaryPort(loaded.interfaces)) return again(PORT_WAIT_MS)
    await startAgain(options, loaded, recovery)
    log.warn('a machine was started again', { id, because: recovery.cause === 'hang' ? 'it did not answer' : 'its host was restarted' })
  }
  const recoveredMs = recentRecoveries(doc.recoveredMs, clock.now()).concat(recovery.cause === 'hang' ? clock.now() : [])
  return recording('instance.recovered', (db) => changeInstanceDoc(db, id, { ...afterStart(options, loaded), recoveredMs }), again(0))
}

async function startAgain(
  options: InstanceReconcilerOptions,
  loaded: LoadedInstance,
  recovery: NonNullable<LoadedInstance['doc']['recovery']>,
): Promise<void> {
  const { hypervisor } = options
  try {
    const noted = await noteColdStart(options, loaded, { recovery })
    await hypervisor.ensureRunning(await machineSpec(options, loaded, noted))
  } catch (error) {
    if (isFatal(error)) throw error
    await noteStartFailure(options, loaded)
    throw error
  }
}
