import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { isOpen, type InterruptRequest } from '../model/interrupt.ts'
import type { Db, Store } from '../store/store.ts'
import { DONE, recording, type Reconciler } from './loop.ts'

export interface InterruptReconcilerOptions {
  store: Store
  clock: Clock
  hypervisor: Pick<Hypervisor, 'observe' | 'interrupt'>
}

/**
 * Sends the diagnostic interrupt that SendDiagnosticInterrupt asked for, where somebody still waits for it. It is
 * written down before it is sent, so that no failure sends it twice: the second could end the very dump
 * that the first is for.
 */
export function createInterruptReconciler({ store, clock, hypervisor }: InterruptReconcilerOptions): Reconciler {
  return {
    async reconcile(instanceId) {
      const asked = await store.read((db) => requestOf(db, instanceId))
      if (!asked || !isOpen(asked, clock.now()) || (await hypervisor.observe(instanceId)).status !== 'running') return DONE
      const begun = { ...asked, isBegun: true }
      const isOurs = await store.transaction('interrupt.begun', (db) => change(db, instanceId, begun))
      // Asked for anew meanwhile: that is another run's.
      if (!isOurs) return DONE
      await hypervisor.interrupt(instanceId)
      return recording('interrupt.sent', (db) => change(db, instanceId, { ...begun, isSent: true }))
    },
  }
}

async function requestOf(db: Db, instanceId: string): Promise<InterruptRequest | undefined> {
  const row = await db.selectFrom('instances').select('doc').where('instance_id', '=', instanceId).executeTakeFirst()
  return row && instanceDoc(row).interrupt
}

async function change(db: Db, instanceId: string, interrupt: InterruptRequest): Promise<boolean> {
  if ((await requestOf(db, instanceId))?.requestedMs !== interrupt.requestedMs) return false
  await changeInstanceDoc(db, instanceId, { interrupt })
  return true
}
