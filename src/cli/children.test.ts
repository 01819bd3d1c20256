import { describe, expect, it } from 'vitest'
import { readSettings } from '../settings.ts'
import { childrenOf } from './children.ts'

describe('the processes of a cloud', () => {
  it('are the API, the node and each zone, which is told who it is', () => {
    const engine = { engine: 'qemu', accelerator: 'tcg', reason: 'no KVM' } as const
    const children = childrenOf(readSettings({ home: '/h', zones: 'a,c', hostsPerZone: 3 }, {}), engine)
    expect(children.map(({ name, script, orders }) => [name, script.split('/').at(-1), orders.zone])).toEqual([
      ['api', 'api-process.js', undefined], ['agent', 'agent-process.js', undefined],
      ['us-east-1a', 'zone-process.js', 'us-east-1a'], ['us-east-1c', 'zone-process.js', 'us-east-1c'],
    ])
    expect(children.every(({ orders }) => orders.engine === engine)).toBe(true)
  })

  it('are one when all of it is simulated', () => {
    const engine = { engine: 'sim', accelerator: 'sim', reason: 'asked for' } as const
    expect(childrenOf(readSettings({ home: '/h', engine: 'sim' }, {}), engine).map(({ name }) => name)).toEqual(['sim'])
  })
})
