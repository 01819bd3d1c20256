import { execFile } from 'node:child_process'
import type { GuestArchitecture } from '../driver.ts'
import { architectureFacts } from './architecture.ts'

const TIMEOUT_MS = 10_000

/** Version of the installed QEMU ("7.2.22"). @throws Error that says what to install. */
export async function qemuVersion(): Promise<string> {
  const text = await ask(['--version'])
  return /version (\S+)/.exec(text)?.[1] ?? text.trim()
}

/**
 * The versioned name of the newest machine of its kind that the installed QEMU has ("pc-q35-7.2"),
 * which a later QEMU still offers unchanged.
 */
export async function resolveMachineType(architecture: GuestArchitecture = 'x86_64'): Promise<string> {
  return parseMachineType(await ask(['-machine', 'help'], architecture), architectureFacts(architecture).machine)
}

/** Reads it from the output of `-machine help`. @throws Error when there is none. */
export function parseMachineType(help: string, machine: 'q35' | 'virt' = 'q35'): string {
  const name = new RegExp(`^${machine} .*\\(alias of (\\S+?)\\)`, 'm').exec(help)?.[1]
  if (name === undefined) throw new Error(`this QEMU has no ${machine} machine; install qemu-system-x86 or qemu-system-arm`)
  return name
}

function ask(words: string[], architecture: GuestArchitecture = 'x86_64'): Promise<string> {
  const { program, programPackage } = architectureFacts(architecture)
  return new Promise((resolve, reject) => {
    const child = execFile(program, words, { timeout: TIMEOUT_MS }, (error, stdout) => {
      if (!error) return resolve(stdout)
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      reject(isMissing ? new Error(`${program} is not installed: apt install ${programPackage}`) : error)
    })
    child.stdin?.end()
  })
}
