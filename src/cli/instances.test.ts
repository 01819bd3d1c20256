import { describe, expect, it } from 'vitest'
import { findInstance, type InstanceView } from './instances.ts'

const view = (change: Partial<InstanceView>): InstanceView => ({
  instanceId: 'i-00000000000000001', name: null, state: 'running', pausedBecause: null, isHibernated: false, reason: null,
  zone: 'us-east-1a', type: 't3.micro', granted: null, privateIp: '172.31.0.4', publicIp: '198.18.0.1', launchMs: 0, keyName: null, sshUser: 'root', ...change,
})

const first = view({ instanceId: 'i-0aaa0000000000001', name: 'first' })
const web = view({ instanceId: 'i-0aab0000000000002', name: 'web' })
const otherWeb = view({ instanceId: 'i-0bbb0000000000003', name: 'web' })
const gone = view({ instanceId: 'i-0ccc0000000000004', name: 'gone', state: 'terminated' })
const all = [first, web, otherWeb, gone]

describe('naming an instance', () => {
  it('goes by id, by the beginning of the id, and by a Name that one alone has', () => {
    expect(findInstance(all, first.instanceId)).toBe(first)
    expect(findInstance(all, 'i-0aaa')).toBe(first)
    expect(findInstance(all, 'first')).toBe(first)
  })

  it('refuses what may be several', () => {
    expect(() => findInstance(all, 'web')).toThrow(/i-0aab0000000000002, i-0bbb0000000000003/)
    expect(() => findInstance(all, 'i-0aa')).toThrow(/whole id/)
    expect(() => findInstance([first], 'i-')).toThrow(/no instance/)
  })

  it('knows what is terminated by its whole id alone', () => {
    expect(findInstance(all, gone.instanceId)).toBe(gone)
    expect(() => findInstance(all, 'gone')).toThrow(/i-0aaa0000000000001 \(first\)/)
    expect(() => findInstance(all, 'i-0ccc')).toThrow(/no instance/)
  })

  it('says what there is', () => {
    expect(() => findInstance([], 'first')).toThrow(/there is none/)
    expect(() => findInstance(all, 'i-0ddd0000000000009')).toThrow(/no instance i-0ddd0000000000009/)
  })
})
