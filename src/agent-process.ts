import { runChild } from './child-process.ts'
import { startNode } from './main-agents.ts'

await runChild(async (settings, { engine }, onFatal) => {
  const { serialConsolePort, stop } = await startNode({ settings, engine, onFatal })
  return { ports: { serialConsolePort }, stop }
})
