import { readFileSync } from 'node:fs'
import path from 'node:path'
import { textOf, textsOf } from '../src/cli/xml.ts'
import { systemClock, waitFor } from '../src/core/clock.ts'
import { findMachine } from '../src/hypervisor/qemu/process.ts'
import { awaitBanner } from './banner.ts'
import type { Cloud } from './cloud.ts'

const POLL_MS = 50
const STATE_TIMEOUT_MS = 120_000
const TICK_MS = 10

/** One launch through the API; all times in milliseconds from just before the RunInstances call. */
export interface Launched {
  instanceId: string
  /** RunInstances has answered. */
  answeredMs: number
  /** The agent has started QEMU's process; to some 10 ms. */
  spawnedMs: number
  /** DescribeInstances says "running"; asked every 50 ms. */
  runningMs: number
  /** The SSH server at the public address has spoken. */
  bannerMs: number
}

/** What launches need once: a key, and a group that lets SSH in. Answers the public key. */
export async function prepareAccount({ api }: Cloud): Promise<{ groupId: string; publicKey: string }> {
  await api.call('CreateKeyPair', { KeyName: 'bench', KeyType: 'ed25519' })
  const publicKey = textOf(await api.call('DescribeKeyPairs', { 'KeyName.1': 'bench', IncludePublicKey: 'true' }), 'publicKey')
  const groupId = textOf(
    await api.call('CreateSecurityGroup', { GroupName: 'bench', GroupDescription: 'SSH from everywhere' }), 'groupId')
  if (groupId === undefined || publicKey === undefined) throw new Error('the API answered without a key or group')
  await api.call('AuthorizeSecurityGroupIngress', {
    'GroupId': groupId, 'IpPermissions.1.IpProtocol': 'tcp', 'IpPermissions.1.FromPort': '22',
    'IpPermissions.1.ToPort': '22', 'IpPermissions.1.IpRanges.1.CidrIp': '0.0.0.0/0',
  })
  return { groupId, publicKey }
}

/** Calls RunInstances and waits for the SSH banner at the instance's public address. */
export async function launchByHearth(
  cloud: Cloud,
  options: { home: string; groupId: string; instanceType: string },
  signal: AbortSignal,
): Promise<Launched> {
  const { api } = cloud
  const startMs = performance.now()
  const launched = await api.call('RunInstances', {
    'ImageId': cloud.imageId, 'InstanceType': options.instanceType, 'MinCount': '1', 'MaxCount': '1', 'KeyName': 'bench',
    'SecurityGroupId.1': options.groupId,
  })
  const answeredMs = performance.now() - startMs
  const instanceId = textOf(launched, 'instanceId') ?? ''
  const describe = () => api.call('DescribeInstances', { 'InstanceId.1': instanceId })
  const address = textOf(launched, 'ipAddress') ?? textOf(await describe(), 'ipAddress')
  if (address === undefined) throw new Error(`${instanceId} has no public address`)
  const [bannerMs, runningMs] = await Promise.all([
    awaitBanner(address, signal),
    waitFor(systemClock, `${instanceId} to run`, STATE_TIMEOUT_MS, async () =>
      stateIn(await describe()) === 'running' && performance.now(), POLL_MS),
  ])
  return {
    instanceId, answeredMs,
    spawnedMs: spawnedAt(options.home, instanceId) - startMs,
    runningMs: runningMs - startMs, bannerMs: bannerMs - startMs,
  }
}

/** Terminates the instance and waits until the cloud is done with it: its interface is gone as well. */
export async function terminate({ api }: Cloud, instanceId: string): Promise<void> {
  await api.call('TerminateInstances', { 'InstanceId.1': instanceId })
  await waitFor(systemClock, `${instanceId} to be gone`, STATE_TIMEOUT_MS, async () => {
    const state = stateIn(await api.call('DescribeInstances', { 'InstanceId.1': instanceId }))
    if (state !== 'terminated') return false
    const left = await api.call('DescribeNetworkInterfaces', {
      'Filter.1.Name': 'attachment.instance-id', 'Filter.1.Value.1': instanceId,
    })
    return textsOf(left, 'networkInterfaceId').length === 0
  }, 200)
}

/** Command line of an instance's QEMU, without the program's name. */
export function commandLineOf(home: string, instanceId: string): string[] {
  return readFileSync(`/proc/${machineOf(home, instanceId).pid}/cmdline`, 'utf8').split('\0').slice(1, -1)
}

function machineOf(home: string, instanceId: string) {
  const [machine] = findMachine(instanceId, path.join(home, 'instances', instanceId))
  if (!machine) throw new Error(`${instanceId} has no QEMU`)
  return machine
}

/** When the process that became QEMU began, as performance.now(); both clocks begin with the host's boot. */
function spawnedAt(home: string, instanceId: string): number {
  const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000
  return performance.now() - (uptimeMs - machineOf(home, instanceId).startTicks * TICK_MS)
}

function stateIn(xml: string): string | undefined {
  return textOf(/<instanceState>.*?<\/instanceState>/s.exec(xml)?.[0] ?? '', 'name')
}
