import { describe, expect, it } from 'vitest'
import { simulateDay } from './market-day.ts'
import { chartOf } from './market-day-chart.ts'

const SMALL = { seed: 8, requests: 400, hosts: 4 } as const

describe('a simulated day', () => {
  it.each(['smoothed', 'auction'] as const)('%s, keeps to its supply and to all offers, and is the same again', (pricing) => {
    const day = simulateDay({ ...SMALL, pricing })
    expect(day).toEqual(simulateDay({ ...SMALL, pricing }))
    expect(day).not.toEqual(simulateDay({ ...SMALL, pricing, seed: 9 }))
    expect(day.zones.every((zone) => zone.samples.length === 24 * 60)).toBe(true)
    expect(day.completed).toBeGreaterThan(0)
    expect(day.completed + day.noCapacity + day.byPrice).toBeLessThanOrEqual(day.fulfilled)
    expect(day.noCapacity).toBeGreaterThan(0)
  })

  it('is drawn as one picture', () => {
    const chart = chartOf(simulateDay({ ...SMALL, pricing: 'auction' }), 'A day')
    expect(chart.startsWith('<svg ')).toBe(true)
    expect(chart).not.toContain('NaN')
    expect(chart).not.toContain('undefined')
  })
})
