import type { Clock } from '../../core/clock.ts'
import { QmpClient } from './qmp.ts'

const CONNECT_TIMEOUT_MS = 1000
const COMMAND_TIMEOUT_MS = 1000

/**
 * Events that only repeat what the machine was told: the power button was pressed, a guest was asked to
 * give a device up and has not. Whoever looked at once would press and ask again, and so without end.
 * A guest whose disk was taken away may fail as often as it likes; one that stops for an error says STOP.
 */
const ECHOES = new Set(['POWERDOWN', 'ACPI_DEVICE_OST', 'DEVICE_UNPLUG_GUEST_ERROR', 'BLOCK_IO_ERROR'])

/** One lasting QMP connection per machine, made when first needed and again after it was lost; or one for each command. */
export class Monitors {
  readonly #clock: Clock
  readonly #onChange: (instanceId: string) => void
  readonly #staysConnected: boolean
  readonly #clients = new Map<string, Promise<QmpClient>>()
  #closed = false

  /** `onChange` is called when a connected machine tells of a change, and when its connection is lost. */
  constructor(clock: Clock, onChange: (instanceId: string) => void, staysConnected = true) {
    this.#clock = clock
    this.#onChange = onChange
    this.#staysConnected = staysConnected
  }

  /**
   * Runs a command on the machine in `folder`.
   *
   * @throws Error when QEMU does not answer in time, on its first socket or (when that one is taken,
   * by another agent for instance) on its spare one.
   */
  async execute(
    instanceId: string,
    folder: string,
    command: string,
    args?: Record<string, unknown>,
    timeoutMs = COMMAND_TIMEOUT_MS,
  ): Promise<unknown> {
    if (!this.#staysConnected) return this.#executeOnSpare(folder, command, args, timeoutMs)
    let client: QmpClient
    try {
      client = await this.#client(instanceId, folder)
    } catch {
      return this.#executeOnSpare(folder, command, args, timeoutMs)
    }
    return client.execute(command, args, timeoutMs)
  }

  /** QEMU's run state ("running", "shutdown"…). */
  async status(instanceId: string, folder: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
    const answer = (await this.execute(instanceId, folder, 'query-status', undefined, timeoutMs)) as { status?: unknown }
    return String(answer.status)
  }

  async close(): Promise<void> {
    this.#closed = true
    const clients = await Promise.allSettled(this.#clients.values())
    for (const client of clients) if (client.status === 'fulfilled') client.value.close()
    this.#clients.clear()
  }

  #client(instanceId: string, folder: string): Promise<QmpClient> {
    if (this.#closed) return Promise.reject(new Error('this hypervisor driver is closed'))
    const known = this.#clients.get(instanceId)
    if (known) return known
    const connecting = QmpClient.connect(folder, 'qmp.sock', this.#clock, CONNECT_TIMEOUT_MS)
    this.#clients.set(instanceId, connecting)
    connecting.then((client) => this.#watch(instanceId, client), () => this.#clients.delete(instanceId))
    return connecting
  }

  #watch(instanceId: string, client: QmpClient): void {
    client.onEvent = ({ event }) => {
      if (!ECHOES.has(event)) this.#onChange(instanceId)
    }
    client.onClose = () => {
      this.#clients.delete(instanceId)
      this.#onChange(instanceId)
    }
  }

  async #executeOnSpare(
    folder: string,
    command: string,
    args: Record<string, unknown> | undefined,
    timeoutMs: number,
  ): Promise<unknown> {
    const client = await QmpClient.connect(folder, 'qmp2.sock', this.#clock, CONNECT_TIMEOUT_MS)
    try {
      return await client.execute(command, args, timeoutMs)
    } finally {
      client.close()
    }
  }
}
