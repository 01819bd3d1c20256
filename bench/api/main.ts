import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/core/errors.ts'
import { compareServers, measureAlone } from './measure.ts'
import { startHearth, startMoto } from './servers.ts'
import { isMet, render, type ApiReport } from './table.ts'

// `npm run bench -- api`: how quickly the API answers, beside moto's server. See docs/performance.md.

const USAGE = `npm run bench -- api [options]

  --quick          one short round, and 10,000 instances for the most
  --folder <path>  where the temporary home goes; on a disk (default: the system's)
  --json           figures as JSON on standard output
`

/** Exit of a run that measured everything and missed a goal. */
const GOAL_MISSED = 1
const FAILED = 2

const THOROUGH = { rounds: 3, durationMs: 2000, sizes: [10_000, 100_000] }
const QUICK = { rounds: 1, durationMs: 500, sizes: [10_000] }

const progress = (line: string) => void process.stderr.write(`${line}\n`)

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false },
      folder: { type: 'string', default: os.tmpdir() }, help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const options = values.quick ? QUICK : THOROUGH
  const folder = mkdtempSync(path.join(values.folder, 'hearth-bench-api-'))
  const running: { stop(): Promise<void> }[] = []
  try {
    const hearth = await startHearth(folder)
    running.push(hearth)
    const moto = await startMoto(folder)
    if (moto) running.push(moto)
    else progress('moto_server is not installed: nothing to compare with')
    const compared = await compareServers(hearth, moto, options, progress)
    await moto?.stop()
    const alone = await measureAlone(hearth, hearth.home, compared.ids, options, progress)
    const report: ApiReport = { compared: compared.rows, alone, hasMoto: moto !== undefined }
    process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : render(report))
    return isMet(report) ? 0 : GOAL_MISSED
  } finally {
    for (const server of running) await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`)
  process.exitCode = FAILED
}
