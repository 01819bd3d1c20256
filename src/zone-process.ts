import { runChild } from './child-process.ts'
import { startZone } from './main-agents.ts'
import { regionFrom } from './realm.ts'

await runChild(async (cloud, { engine, region = cloud.region, zone }, onFatal) => {
  if (zone === undefined) throw new Error('nobody has said which zone this is the process of')
  return startZone({ ...regionFrom(cloud, region), engine, onFatal }, zone)
})
