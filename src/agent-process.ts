import { runChild } from './child-process.ts'
import { startNode } from './main-agents.ts'
import { regionFrom } from './realm.ts'

await runChild(async (cloud, { engine, region = cloud.region }, onFatal) => {
  const { serialConsolePort, stop } = await startNode({ ...regionFrom(cloud, region), engine, onFatal })
  // The others' ports follow from the home region's.
  return { ports: region === cloud.region ? { serialConsolePort } : {}, stop }
})
