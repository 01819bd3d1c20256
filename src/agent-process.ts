import { runChild } from './child-process.ts'
import { startAgent } from './main.ts'

await runChild(async (settings, onFatal) => {
  const { agent, store } = await startAgent(settings, onFatal)
  return {
    async stop() {
      await agent.stop()
      await store.close()
    },
  }
})
