import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { waitFor, type Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { openSshLine } from '../core/ssh-public-key.ts'
import { writeDurably } from '../core/write-durably.ts'
import { homeIdOf, homePaths } from '../home.ts'
import type { Store } from '../store/store.ts'
import type { ApiClient } from './api-client.ts'
import { instanceStateOf } from './instance-state.ts'
import { withProgress, type Terminal } from './terminal.ts'
import { textOf, textsOf } from './xml.ts'

export interface FirstInstanceOptions {
  api: ApiClient
  store: Store
  clock: Clock
  home: string
  terminal: Terminal
}

/** Marks in the table `meta` that the first instance was launched; its value is the instance's id. */
const META_KEY = 'first-instance'
const GROUP_NAME = 'hearth-ssh'
const IMAGE_TIMEOUT_MS = 120_000
const RUNNING_TIMEOUT_MS = 300_000

/** Name of the key pair that Hearth makes for its owner, and the file with its private half. */
export function ownKey(home: string): { name: string; file: string } {
  return { name: `hearth-${homeIdOf(home)}`, file: path.join(homePaths(home).keys, 'hearth.pem') }
}

/** Id of the home's first instance, if it was launched. */
export function firstInstanceOf(store: Store): Promise<string | undefined> {
  return store.read(async (db) => {
    const row = await db.selectFrom('meta').select('value').where('key', '=', META_KEY).executeTakeFirst()
    return row?.value
  })
}

/**
 * Launches the instance that greets a new home, as any client would. Every step may have been done
 * by an earlier run that crashed, so each looks first; the mark comes last.
 *
 * @returns the instance's id, once it runs.
 */
export async function launchFirstInstance(options: FirstInstanceOptions): Promise<string> {
  const { api, store, clock, terminal } = options
  await ensureOwnKey(options)
  const groupId = await ensureSshGroup(api)
  const imageId = await withProgress(clock, terminal, 'waiting for the tiny image to be registered', () =>
    waitFor(clock, 'the tiny image to be registered', IMAGE_TIMEOUT_MS, () => newestTinyImage(api), 200))
  const launched = await api.call('RunInstances', {
    ImageId: imageId, InstanceType: 't3.micro', MinCount: '1', MaxCount: '1', KeyName: ownKey(options.home).name,
    'SecurityGroupId.1': groupId, ClientToken: 'first-instance',
    'TagSpecification.1.ResourceType': 'instance',
    'TagSpecification.1.Tag.1.Key': 'Name', 'TagSpecification.1.Tag.1.Value': 'first',
  })
  const instanceId = required(launched, 'instanceId')
  await store.transaction('first-instance', (db) =>
    db.insertInto('meta').values({ key: META_KEY, value: instanceId })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: instanceId })).execute())
  terminal.say(`launched the first instance, ${instanceId}`)
  await withProgress(clock, terminal, `${instanceId} starts`, () =>
    waitFor(clock, `${instanceId} to run`, RUNNING_TIMEOUT_MS, () => isRunning(api, instanceId), 200))
  return instanceId
}

async function isRunning(api: ApiClient, instanceId: string): Promise<boolean> {
  const { state, reason } = await instanceStateOf(api, instanceId)
  if (state === 'running' || state === 'pending') return state === 'running'
  throw new Error(`${instanceId} is ${state}: ${reason ?? 'no reason is known'}`)
}

async function newestTinyImage(api: ApiClient): Promise<string | undefined> {
  const xml = await api.call('DescribeImages', { 'Filter.1.Name': 'name', 'Filter.1.Value.1': '*tiny*' })
  const dates = textsOf(xml, 'creationDate')
  const images = textsOf(xml, 'imageId').map((imageId, index) => ({ imageId, date: dates[index] ?? '' }))
  return images.toSorted((a, b) => (a.date < b.date ? 1 : -1))[0]?.imageId
}

/**
 * Makes sure that the key pair is there and that its private half is in the file: the private half
 * is answered once and kept nowhere else, so a pair whose file is lost is made anew.
 */
export async function ensureOwnKey({ api, home }: Pick<FirstInstanceOptions, 'api' | 'home'>): Promise<void> {
  const { name, file } = ownKey(home)
  const known = await orUndefined('InvalidKeyPair.NotFound', () =>
    api.call('DescribeKeyPairs', { 'KeyName.1': name, IncludePublicKey: 'true' }))
  const publicKey = known === undefined ? undefined : required(known, 'publicKey')
  if (publicKey !== undefined && (await publicHalf(file)) === withoutComment(publicKey)) return
  if (publicKey !== undefined) await api.call('DeleteKeyPair', { KeyName: name })
  const created = await api.call('CreateKeyPair', { KeyName: name })
  await writeDurably(file, `${required(created, 'keyMaterial').trim()}\n`)
}

/** The public half of a PEM file as a line of authorized_keys; undefined when it holds no key. */
async function publicHalf(file: string): Promise<string | undefined> {
  try {
    return openSshLine(createPublicKey(createPrivateKey(await readFile(file))))
  } catch {
    return undefined
  }
}

function withoutComment(line: string): string {
  return line.trim().split(' ').slice(0, 2).join(' ')
}

/** Id of the group in the default VPC that lets SSH in from everywhere; made if need be. */
async function ensureSshGroup(api: ApiClient): Promise<string> {
  const vpcs = await api.call('DescribeVpcs', { 'Filter.1.Name': 'is-default', 'Filter.1.Value.1': 'true' })
  const found = await api.call('DescribeSecurityGroups', {
    'Filter.1.Name': 'group-name', 'Filter.1.Value.1': GROUP_NAME,
    'Filter.2.Name': 'vpc-id', 'Filter.2.Value.1': required(vpcs, 'vpcId'),
  })
  const groupId = textOf(/<securityGroupInfo>.*/s.exec(found)?.[0] ?? '', 'groupId') ?? required(
    await api.call('CreateSecurityGroup', { GroupName: GROUP_NAME, GroupDescription: 'SSH from everywhere' }), 'groupId')
  await orUndefined('InvalidPermission.Duplicate', () =>
    api.call('AuthorizeSecurityGroupIngress', {
      GroupId: groupId, 'IpPermissions.1.IpProtocol': 'tcp', 'IpPermissions.1.FromPort': '22',
      'IpPermissions.1.ToPort': '22', 'IpPermissions.1.IpRanges.1.CidrIp': '0.0.0.0/0',
    }))
  return groupId
}

/** Undefined when the call fails with that code of EC2's, which says that it is so already. */
async function orUndefined<T>(code: string, call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof ApiError && error.code === code) return undefined
    throw error
  }
}

function required(xml: string, element: string): string {
  const text = textOf(xml, element)
  if (text === undefined) throw new Error(`the API answered without <${element}>`)
  return text
}
