// Builds dist/ from src/ with esbuild, and generated/ from the AWS SDK's schemas. Quick enough
// (well under a second when nothing changed) to run before every start and every test.
import path from 'node:path'
import { bundle, root } from './bundle.mjs'
import { generateModels } from './generate-models.mjs'

await generateModels()
const entries = [
  'src/cli/hearth.ts', 'src/api-process.ts', 'src/agent-process.ts', 'src/zone-process.ts', 'src/sim-process.ts', 'src/network/services/sockets-child.ts',
]
await bundle(entries.map((file) => path.join(root, file)))
