import { execFile } from 'node:child_process'

const TIMEOUT_MS = 10_000

/** Version of the installed QEMU ("7.2.22"). @throws Error that says what to install. */
export async function qemuVersion(): Promise<string> {
  const text = await ask(['--version'])
  return /version (\S+)/.exec(text)?.[1] ?? text.trim()
}

/**
 * The versioned name of the installed QEMU's newest q35 machine ("pc-q35-7.2"), which a later QEMU
 * still offers unchanged.
 */
export async function resolveMachineType(): Promise<string> {
  return parseMachineType(await ask(['-machine', 'help']))
}

/** Reads it from the output of `-machine help`. @throws Error when there is no q35. */
export function parseMachineType(help: string): string {
  const name = /^q35 .*\(alias of (\S+?)\)/m.exec(help)?.[1]
  if (name === undefined) throw new Error('this QEMU has no q35 machine; install qemu-system-x86')
  return name
}

function ask(words: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('qemu-system-x86_64', words, { timeout: TIMEOUT_MS }, (error, stdout) => {
      if (!error) return resolve(stdout)
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      reject(isMissing ? new Error('qemu-system-x86_64 is not installed: apt install qemu-system-x86') : error)
    })
    child.stdin?.end()
  })
}
