import { runChild } from './child-process.ts'
import { startApi } from './main.ts'

await runChild(async (settings) => {
  const { api, port, store } = await startApi(settings)
  return {
    ports: { port },
    async stop() {
      await api.close()
      await store.close()
    },
  }
})
