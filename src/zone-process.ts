import { runChild } from './child-process.ts'
import { startZone } from './main-agents.ts'

await runChild(async (settings, { engine, zone }, onFatal) => {
  if (zone === undefined) throw new Error('nobody has said which zone this is the process of')
  return startZone({ settings, engine, onFatal }, zone)
})
