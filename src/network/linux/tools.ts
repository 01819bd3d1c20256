import { CommandError, type Exec } from './exec.ts'

const BATCH_LIMIT = 250

/** iproute2 on the host (netns undefined) or in a namespace. */
export interface Tools {
  ip(netns: string | undefined, args: string[], input?: string): Promise<string>
  /** Commands for `ip -batch`, in order; the first that fails ends them. */
  batch(netns: string | undefined, commands: readonly string[]): Promise<void>
  /** Commands without anything that a shell would read otherwise; those that fail are passed over, as for what has vanished. */
  batchOfWhatIsThere(netns: string | undefined, commands: readonly string[]): Promise<void>
  json<T>(netns: string | undefined, args: string[]): Promise<T[]>
  shell(netns: string | undefined, script: string, input?: string): Promise<string>
}

export function createTools(exec: Exec): Tools {
  const run = (netns: string | undefined, command: string[], input?: string) =>
    netns === undefined ? exec.host(command, input) : exec.inside(netns, command, input)
  const ip: Tools['ip'] = (netns, args, input) => run(netns, ['ip', ...args], input)
  /** Taking a device away costs the kernel some 20 ms: no batch may outlast the deadline. */
  const inBatches = async (commands: readonly string[], batch: (input: string) => Promise<unknown>) => {
    for (let start = 0; start < commands.length; start += BATCH_LIMIT) {
      await batch(`${commands.slice(start, start + BATCH_LIMIT).join('\n')}\n`)
    }
  }
  const tools: Tools = {
    ip,
    batch: (netns, commands) => inBatches(commands, (input) => ip(netns, ['-batch', '-'], input)),
    async batchOfWhatIsThere(netns, commands) {
      try {
        await tools.batch(netns, commands)
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        // What the kernel refuses ends a batch even with -force, so all are run alone, those too that have been.
        await inBatches(commands.map((command) => `ip ${command} 2>/dev/null || :`), (script) => tools.shell(netns, script))
      }
    },
    // An empty list is printed as nothing at all by some versions of iproute2.
    json: async <T>(netns: string | undefined, args: string[]) => JSON.parse((await ip(netns, ['-j', ...args])) || '[]') as T[],
    shell: (netns, script, input) => run(netns, ['sh', '-c', script], input),
  }
  return tools
}
