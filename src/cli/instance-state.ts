import type { ApiClient } from './api-client.ts'
import { textOf } from './xml.ts'

/** The state of an instance as DescribeInstances tells it, with its StateReason. */
export async function instanceStateOf(api: ApiClient, instanceId: string): Promise<{ state: string; reason: string | null }> {
  const xml = await api.call('DescribeInstances', { 'InstanceId.1': instanceId })
  const state = textOf(/<instanceState>.*?<\/instanceState>/s.exec(xml)?.[0] ?? '', 'name')
  if (state === undefined) throw new Error('the API answered without <instanceState>')
  const reason = /<stateReason>.*?<\/stateReason>/s.exec(xml)?.[0] ?? ''
  return { state, reason: textOf(reason, 'message') ?? null }
}
