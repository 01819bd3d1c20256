import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertImage, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { ApiError } from '../core/errors.ts'
import {
  getInstanceMetadataDefaults as get, metadataSettings, modifyInstanceMetadataDefaults as modify,
} from './instance-metadata-defaults.ts'
import { runInstances } from './run-instances.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})

const set = (input: Parameters<typeof modify>[1]) => store.run((context) => modify(context, input))
const current = async () => (await store.run((context) => get(context, {}))).AccountLevel
const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: unknown) => error instanceof ApiError ? error.code : Promise.reject(error))

/** The metadata options of a launch, from an image that wants IMDSv2 or not. */
async function launched(imdsSupport: 'v2.0' | null, options: RunInstancesRequest['MetadataOptions'] = {}) {
  return store.run(async (context) => {
    const image = await insertImage(context, { name: `image-${Object.keys(options).join()}-${imdsSupport}` }, { imdsSupport })
    const reservation = await runInstances(context, {
      ImageId: image.image_id, InstanceType: 't3.nano', MinCount: 1, MaxCount: 1, MetadataOptions: options,
    })
    return reservation.Instances?.[0]?.MetadataOptions
  })
}

describe('the metadata defaults of an account', () => {
  it('are nothing at first, keep what was set, and forget it with no-preference', async () => {
    expect(await current()).toEqual({ ManagedBy: 'account' })
    expect(await set({ HttpTokens: 'required', HttpPutResponseHopLimit: 3 })).toEqual({ Return: true })
    await set({ HttpEndpoint: 'disabled', InstanceMetadataTags: 'enabled', HttpTokensEnforced: 'disabled' })
    expect(await current()).toEqual({
      HttpTokens: 'required', HttpPutResponseHopLimit: 3, HttpEndpoint: 'disabled', InstanceMetadataTags: 'enabled',
      HttpTokensEnforced: 'disabled', ManagedBy: 'account',
    })
    await set({ HttpTokens: 'no-preference', HttpPutResponseHopLimit: -1, HttpEndpoint: 'no-preference' })
    expect(await current()).toEqual({ InstanceMetadataTags: 'enabled', HttpTokensEnforced: 'disabled', ManagedBy: 'account' })
  })

  it('are those of one account only', async () => {
    await set({ HttpTokens: 'required' })
    expect((await store.run(({ db, account }) => metadataSettings(db, account))).defaults).toEqual({ httpTokens: 'required' })
    expect((await store.run(({ db }) => metadataSettings(db, OTHER_ACCOUNT))).defaults).toEqual({})
  })

  it('refuse what is no setting, and change nothing', async () => {
    await set({ HttpTokens: 'required' })
    for (const input of [{ HttpTokens: 'maybe' as 'required' }, { HttpPutResponseHopLimit: 0 }, { HttpPutResponseHopLimit: 65 }]) {
      expect(await failure(set({ HttpEndpoint: 'disabled', ...input }))).toBe('InvalidParameterValue')
    }
    expect(await failure(set({}))).toBe('MissingParameter')
    expect(await current()).toEqual({ HttpTokens: 'required', ManagedBy: 'account' })
  })

  it('stand between what a launch asks for and what its image wants', async () => {
    expect(await launched(null)).toMatchObject({ HttpTokens: 'optional', HttpPutResponseHopLimit: 1, InstanceMetadataTags: 'disabled' })
    expect(await launched('v2.0')).toMatchObject({ HttpTokens: 'required', HttpPutResponseHopLimit: 2 })
    await set({ HttpTokens: 'optional', HttpPutResponseHopLimit: 5, InstanceMetadataTags: 'enabled' })
    expect(await launched('v2.0')).toMatchObject({ HttpTokens: 'optional', HttpPutResponseHopLimit: 5, InstanceMetadataTags: 'enabled' })
    expect(await launched('v2.0', { HttpTokens: 'required', HttpPutResponseHopLimit: 7 })).toMatchObject({
      HttpTokens: 'required', HttpPutResponseHopLimit: 7, InstanceMetadataTags: 'enabled',
    })
  })

  it('can insist on tokens: no launch without them', async () => {
    await set({ HttpTokensEnforced: 'enabled' })
    expect(await failure(launched(null))).toBe('UnsupportedOperation')
    expect(await failure(launched('v2.0', { HttpTokens: 'optional' }))).toBe('UnsupportedOperation')
    expect(await launched('v2.0')).toMatchObject({ HttpTokens: 'required' })
    await set({ HttpTokens: 'required' })
    expect(await launched(null)).toMatchObject({ HttpTokens: 'required' })
  })
})
