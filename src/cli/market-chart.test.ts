import { describe, expect, it } from 'vitest'
import { drawChart, rangeOf, sparkline } from './market-chart.ts'
import { lookOf } from './terminal-look.ts'

const points = [{ atMs: 0, value: 10 }, { atMs: 50, value: 30 }, { atMs: 75, value: 20 }]
const options = { fromMs: 0, untilMs: 100, width: 4, height: 3, least: 10, most: 30, isUnicode: false }

describe('a chart', () => {
  it('has the value of each time, and steps as lines', () => {
    expect(drawChart(points, options)).toEqual(['  **', '  **', '***'])
  })

  it('is drawn in dots, eight to a character, where that can be shown', () => {
    expect(drawChart(points, { ...options, height: 1, isUnicode: true })).toEqual(['⣀⣀⡏⠧'])
  })

  it('loses no peak, however short', () => {
    const peak = [{ atMs: 0, value: 10 }, { atMs: 10, value: 30 }, { atMs: 11, value: 10 }]
    expect(drawChart(peak, options)[0]).toBe('*')
    expect(rangeOf(peak, 0, 25)).toEqual({ least: 10, most: 30 })
  })

  it('is empty before there is a value, and flat where it never changes', () => {
    expect(drawChart([{ atMs: 50, value: 10 }], { ...options, most: 10 })).toEqual(['', '', '  **'])
    expect(rangeOf([], 0, 1)).toBeUndefined()
  })

  it('has a short form', () => {
    const short = { fromMs: 0, untilMs: 100, width: 4 }
    expect(sparkline(points, { ...short, isUnicode: true })).toBe('▁▁█▅')
    expect(sparkline(points, { ...short, isUnicode: false })).toBe('__@+')
    expect(sparkline([], { ...short, isUnicode: true })).toBe('')
  })
})

describe('what a terminal can show', () => {
  const terminal = { isTTY: true, columns: 120 }
  it.each([
    ['a terminal of UTF-8', terminal, { LANG: 'C.UTF-8' }, { columns: 120, isTerminal: true, isUnicode: true, hasColour: true }],
    ['one that wants no colours', terminal, { LC_ALL: 'en_US.utf8', NO_COLOR: '1' }, { columns: 120, isTerminal: true, isUnicode: true, hasColour: false }],
    ['one without a locale', terminal, {}, { columns: 120, isTerminal: true, isUnicode: false, hasColour: true }],
    ['a dumb one', terminal, { TERM: 'dumb', LANG: 'C.UTF-8' }, { columns: 120, isTerminal: true, isUnicode: false, hasColour: false }],
    ['a pipe', {}, { LANG: 'C.UTF-8' }, { columns: 80, isTerminal: false, isUnicode: true, hasColour: false }],
    ['a pipe that is told its width', {}, { COLUMNS: '20' }, { columns: 40, isTerminal: false, isUnicode: false, hasColour: false }],
  ])('%s', (_what, output, environment, look) => expect(lookOf(output, environment)).toEqual(look))
})
