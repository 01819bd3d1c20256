import { silentLogger } from '../../src/core/logger.ts'
import type { FillSource, LayerSpec } from '../../src/volumes/driver.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'

// A process of its own that fills a layer, to be killed: its arguments are the home, and what `ensureFilled`
// takes, as JSON.

const [, , home = '', call = '[]'] = process.argv
const [spec, source] = JSON.parse(call) as [LayerSpec, FillSource]
const volumes = createQcow2Volumes({ home, log: silentLogger })
await volumes.ensureFilled(spec, source)
