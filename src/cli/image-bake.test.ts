import { beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, type TestStore } from '../../test/support/rows.ts'
import { createImage } from '../ec2/create-image.ts'
import { recordFrozen } from '../model/freeze.ts'
import { changeLayerDoc } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import { moveZone } from '../model/zone.ts'
import type { ApiClient } from './api-client.ts'
import { bakeImage } from './image-bake.ts'
import { formatAmis, listAmis } from './images.ts'

const ZONE = `${REGION}a`
const HERE = { home: '/h', region: REGION }

let test: TestStore
let instanceId: string
beforeEach(async () => {
  test = await openTestStore()
  instanceId = await test.run(async (context) => {
    const instance = await insertInstance(context)
    await insertVolume(context, instance)
    return instance.instance_id
  })
})

/** An API that knows CreateImage alone, and what it was asked. */
function bakery(): ApiClient & { asked: Record<string, string>[] } {
  const asked: Record<string, string>[] = []
  return {
    asked,
    async call(_action, parameters = {}) {
      asked.push(parameters)
      const { ImageId } = await test.run((context) => createImage(context, {
        InstanceId: parameters.InstanceId, Name: parameters.Name, NoReboot: parameters.NoReboot === 'true',
      }))
      return `<CreateImageResponse><imageId>${ImageId}</imageId></CreateImageResponse>`
    },
  }
}

/** A clock whose sleeps take no time; each is the next of these happenings. */
function clockOf(happenings: (() => Promise<void>)[]) {
  let nowMs = NOW_MS
  return {
    now: () => nowMs, after: () => ({ cancel() {} }), soon: () => {},
    sleep: async (ms: number) => {
      nowMs += ms
      await happenings.shift()?.()
    },
  }
}

/** What the agent does about the instance's volume. */
const volume = () => test.store.read((db) => db.selectFrom('volumes').selectAll().executeTakeFirstOrThrow())
const freeze = async () => {
  const row = await volume()
  await test.run((context) => recordFrozen(context, [row]))
  return row.layer_id
}

describe('hearth image bake', () => {
  it('tells how far the image is until it is there', async () => {
    const said: string[] = []
    let layerId = ''
    const api = bakery()
    const clock = clockOf([
      async () => void (layerId = await freeze()),
      () => test.run(({ db }) => changeLayerDoc(db, layerId, { progress: 40.7 })),
      () => test.run(({ db }) => settleSnapshotsOf(db, layerId, { state: 'completed' }, NOW_MS)),
    ])
    const ami = await bakeImage(
      { api, store: test.store, clock, say: (line) => void said.push(line), settings: HERE }, { instanceId, state: 'running', zone: ZONE }, { name: 'baked' })
    expect(api.asked).toEqual([{ InstanceId: instanceId, Name: 'baked', NoReboot: 'true' }])
    expect(said).toEqual([
      `baking ${instanceId}, which runs on`, `${ami.imageId} is pending: 0 %`, `${ami.imageId} is pending: 40 %`,
      `${ami.imageId} is available`,
    ])
    expect(ami).toMatchObject({ name: 'baked', state: 'available', sizeGib: 8, source: instanceId })
  })

  it('says why it has failed', async () => {
    const api = bakery()
    const clock = clockOf([async () => {
      const layerId = await freeze()
      await test.run(({ db }) => settleSnapshotsOf(db, layerId, { state: 'error', message: 'no room' }, NOW_MS))
    }])
    await expect(bakeImage(
      { api, store: test.store, clock, say: () => {}, settings: HERE }, { instanceId, state: 'running', zone: ZONE }, { name: 'baked', description: 'd', reboot: true },
    )).rejects.toThrow(/^ami-\w+ has failed: Snapshot snap-\w+: no room$/)
    expect(api.asked).toEqual([{ InstanceId: instanceId, Name: 'baked', NoReboot: 'false', Description: 'd' }])
  })

  it('does not wait for a zone that fails meanwhile, which nobody may heal', async () => {
    const api = bakery()
    const clock = clockOf([async () => void await test.run((context) => moveZone(context, ZONE, 'impaired'))])
    await expect(bakeImage(
      { api, store: test.store, clock, say: () => {}, settings: HERE }, { instanceId, state: 'running', zone: ZONE }, { name: 'baked' },
    )).rejects.toThrow(/^ami-\w+ is pending: 0 %, and that waits: i-\w+ is in us-east-1a, which is impaired; to heal it: \S+ zone heal us-east-1a --home \/h$/)
  })
})

describe('hearth image list', () => {
  it('shows the AMIs that users made, of every account', async () => {
    const other = await test.run(async (context) => {
      const instance = await insertInstance(context)
      await insertVolume(context, instance)
      await createImage({ ...context, nowMs: NOW_MS + 1 }, { InstanceId: instance.instance_id, Name: 'web server' })
      return instance.instance_id
    }, OTHER_ACCOUNT)
    await test.run((context) => createImage(context, { InstanceId: instanceId, Name: 'mine' }))
    const [head, first, second, ...rest] = formatAmis(await listAmis(test.store)).split('\n')
    expect(head).toMatch(/^AMI +NAME +STATE +SIZE +SOURCE +ACCOUNT +CREATED$/)
    expect(first).toMatch(new RegExp(`^ami-\\w+ +mine +pending 0 % +8 GiB +${instanceId} +123456789012 +2026-01-01 00:00$`))
    expect(second).toMatch(new RegExp(`^ami-\\w+ +web server +pending 0 % +8 GiB +${other} +${OTHER_ACCOUNT} +2026-01-01 00:00$`))
    expect(rest).toEqual([])
  })
})
