import { readFile } from 'node:fs/promises'

/** Another one after each start of the kernel; tests put a file of their own in its place. */
const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id'

/**
 * Which run of this machine it is. Of a container too, which is started anew with another first process while the kernel
 * goes on: in either case no process, and no network namespace, is there any more.
 */
export async function readHostBootId(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const bootId = (await readFile(environment.HEARTH_BOOT_ID_FILE || BOOT_ID_FILE, 'utf8')).trim()
  const stat = await readFile('/proc/1/stat', 'latin1')
  // Clock ticks between the boot and the start of the first process, after a name that may hold anything.
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return `${bootId}/${startTicks}`
}
