import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MOST_LAYERS } from '../../src/model/layer.ts'
import { RealCloud, whyNotReal } from '../e2e/real-cloud.ts'

const GENERATIONS = 20

describe.skipIf(whyNotReal !== undefined)(`images of instances of images${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('chain')
  let tiny: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)

  /** Launches one, answers its id and how long its kernel was up when SSH first answered, seconds. */
  async function launch(imageId: string): Promise<{ id: string; bootSeconds: number }> {
    const id = await cloud.launch('--image-id', imageId)
    await cloud.isUp(id)
    return { id, bootSeconds: await cloud.uptime(id) }
  }

  const layersOf = async (snapshotId: string) => {
    const { snapshots } = JSON.parse((await cloud.hearth('disk', 'list', '--json')).stdout) as { snapshots: { snapshotId: string; layers: number }[] }
    return snapshots.find((each) => each.snapshotId === snapshotId)?.layers ?? Number.NaN
  }

  beforeAll(async () => {
    await cloud.prepare()
    tiny = (await cloud.upForLaunches()).imageId
  })
  afterAll(() => cloud.close())

  test(`the instance of the ${GENERATIONS}th boots as fast as the first, with what all before it wrote`, async () => {
    let image = tiny
    const boots: number[] = []
    let snapshot = ''
    for (let generation = 1; generation <= GENERATIONS; generation++) {
      const { id, bootSeconds } = await launch(image)
      boots.push(bootSeconds)
      await cloud.ssh(id, `echo ${generation} >>/root/generations; sync`)
      image = await ec2('ImageId', 'create-image', '--instance-id', id, '--name', `generation ${generation}`, '--no-reboot')
      await cloud.until(`${image} to be available`, 60_000, async () => (await ec2('Images[0].State', 'describe-images', '--image-ids', image)) === 'available')
      snapshot = await ec2('Images[0].BlockDeviceMappings[0].Ebs.SnapshotId', 'describe-images', '--image-ids', image)
      await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', id)
    }
    await cloud.until('the last chain to be short', 120_000, async () => (await layersOf(snapshot)) <= MOST_LAYERS)
    const last = await launch(image)
    expect(await cloud.ssh(last.id, 'wc -l </root/generations')).toBe(String(GENERATIONS))
    process.stdout.write(`seconds until SSH: ${[...boots, last.bootSeconds].map((each) => each.toFixed(1)).join(' ')}\n`)
    expect(last.bootSeconds).toBeLessThan(2 * (boots[0] ?? 0) + 2)
  })
})
