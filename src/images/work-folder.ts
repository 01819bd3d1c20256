import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'

/**
 * Makes an empty folder for this process's work below `parent` and deletes those of processes that
 * are gone. The name carries process id and start time, so that a reused id is not mistaken.
 */
export async function makeWorkFolder(parent: string, purpose: string): Promise<string> {
  await mkdir(parent, { recursive: true })
  for (const name of await readdir(parent)) {
    const match = /^(.+)\.(\d+)\.(\d+)\.\w+$/.exec(name)
    if (!match || match[1] !== purpose) continue
    const [, , pid, started] = match
    if ((await startTicks(Number(pid))) === started) continue
    await rm(path.join(parent, name), { recursive: true, force: true })
  }
  return mkdtemp(path.join(parent, `${purpose}.${process.pid}.${await startTicks(process.pid)}.`))
}

/** When a process started, in clock ticks since boot (proc(5), field 22); undefined when it is gone. */
async function startTicks(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}
