import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot } from '../../src/core/package-root.ts'

export interface RunResult {
  code: number
  stdout: string
  stderr: string
}

/** How long a call may take; waiters of the CLI, too. */
const TIMEOUT_MS = 120_000

/** The Python that the `aws` of the path runs in, by its first line; undefined where it is no script of Python's. */
export function pythonOfAws(): string | undefined {
  const firstLine = (command: string) =>
    readFileSync(execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim(), 'latin1').split('\n', 1)[0] ?? ''
  try {
    const found = firstLine('command -v aws')
    // It may be pyenv's shim, a shell script that looks for the program.
    return /^#!(\S*python\S*)$/.exec(found.endsWith('sh') ? firstLine('pyenv which aws') : found)?.[1]
  } catch {
    return undefined
  }
}

/**
 * The AWS CLI as one process that has it loaded and forks for each call: a test of a cloud makes hundreds of
 * calls, and loading the CLI takes ten times what a call takes.
 */
export class LoadedAwsCli {
  readonly #folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-aws-cli-'))
  readonly #ended = new Map<string, (code: number) => void>()
  readonly #process: ChildProcess
  #calls = 0

  /**
   * @param enter words before the command, such as those that enter a network namespace.
   * @param python the one that has the CLI.
   */
  constructor([program = '', ...words]: string[], python: string) {
    const script = path.join(packageRoot(), 'test/support/aws-cli.py')
    this.#process = spawn(program, [...words, python, script], { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      const [id = '', code] = line.split(' ')
      this.#ended.get(id)?.(Number(code))
    })
    const fail = () => {
      for (const end of this.#ended.values()) end(1)
    }
    this.#process.once('exit', fail)
    this.#process.stdin?.on('error', fail)
  }

  /** Runs `aws` with these words; the environment is that of this process and `env`. */
  async run(words: string[], env: Record<string, string>): Promise<RunResult> {
    const id = String(++this.#calls)
    const [stdout, stderr] = [path.join(this.#folder, `${id}.out`), path.join(this.#folder, `${id}.err`)]
    const code = await new Promise<number>((resolve) => {
      const timer = setTimeout(() => resolve(1), TIMEOUT_MS)
      this.#ended.set(id, (status) => {
        clearTimeout(timer)
        resolve(status)
      })
      this.#process.stdin?.write(`${JSON.stringify({ id, words, env, stdout, stderr })}\n`)
    })
    this.#ended.delete(id)
    const textOf = (file: string) => readFileSync(file, { encoding: 'utf8', flag: 'a+' })
    return { code, stdout: textOf(stdout), stderr: textOf(stderr) }
  }

  close(): void {
    this.#process.stdin?.end()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
