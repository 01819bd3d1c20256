import type { Clock } from '../../core/clock.ts'
import type { Network } from '../driver.ts'
import { createSerial } from '../serial.ts'
import { askPorts } from './ask-ports.ts'
import { createExec, type Exec } from './exec.ts'
import { createNames, netnsPath } from './names.ts'
import { createTools } from './tools.ts'

/**
 * The kernel's network as the agent of a host knows it: it names what the node's agent makes, and asks guests for a sign of life,
 * but makes and removes nothing. It has no VPCs of its own.
 *
 * A question is not kept apart from what the node's agent, in another process, changes meanwhile. Of a port that changes under
 * it no answer is had; entries that it leaves behind are put right by the next question.
 */
export function createLinuxPorts(
  { homeId, clock, exec = createExec({ clock }) }: { homeId: string; clock: Clock; exec?: Exec },
): Network {
  const names = createNames(homeId)
  const serial = createSerial()
  return {
    ensureHost: async () => {},
    syncVpc: refuse,
    askPorts: ({ vpcId, slot }, ports) =>
      askPorts({ clock, names, tools: createTools(exec), alone: (task) => serial(vpcId, task) }, slot, ports),
    removeVpc: refuse,
    list: async () => [],
    tapOf: (interfaceSlot) => names.tap(interfaceSlot),
    netnsPathOf: (vpcSlot) => netnsPath(names.netns(vpcSlot)),
    close: async () => {},
    removeAll: refuse,
  }
}

async function refuse(): Promise<never> {
  throw new Error("the network of a node is its own agent's, not that of its hosts")
}
