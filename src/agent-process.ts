import { runChild } from './child-process.ts'
import { startAgent } from './main.ts'

await runChild(async (settings, onFatal) => {
  const { agent, serialConsole, serialConsolePort, store } = await startAgent(settings, onFatal)
  return {
    ports: { serialConsolePort },
    async stop() {
      await serialConsole.close()
      await agent.stop()
      await store.close()
    },
  }
})
