import { runChild } from './child-process.ts'
import { startSimulated } from './sim-main.ts'

await runChild(async (settings, _orders, onFatal) => {
  const cloud = await startSimulated(settings, onFatal)
  return { ports: cloud.ports, stop: cloud.stop }
})
