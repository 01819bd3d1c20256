import { runChild } from './child-process.ts'
import { startApi } from './main.ts'

await runChild(async (settings) => {
  const { port, close } = await startApi(settings)
  return { ports: { port }, stop: close }
})
