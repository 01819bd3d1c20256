import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { progress, runBench, type BenchWords } from '../program.ts'
import { compareServers, measureAlone } from './measure.ts'
import { startHearth, startMoto } from './servers.ts'
import { isMet, render, type ApiReport } from './table.ts'

// `npm run bench -- api`: how quickly the API answers, beside moto's server. See docs/performance.md.

const USAGE = `npm run bench -- api [options]

  --quick          one short round, and 10,000 instances for the most
  --folder <path>  where the temporary home goes; on a disk (default: the system's)
  --json           figures as JSON on standard output
`

const THOROUGH = { rounds: 3, durationMs: 2000, sizes: [10_000, 100_000] }
const QUICK = { rounds: 1, durationMs: 500, sizes: [10_000] }

async function measure({ quick, folder: parent = os.tmpdir() }: BenchWords): Promise<ApiReport> {
  const options = quick ? QUICK : THOROUGH
  const folder = mkdtempSync(path.join(parent, 'hearth-bench-api-'))
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
    return { compared: compared.rows, alone, hasMoto: moto !== undefined }
  } finally {
    for (const server of running) await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

await runBench({ usage: USAGE, takesFolder: true, measure, render, isMet })
