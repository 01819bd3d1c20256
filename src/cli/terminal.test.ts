import { describe, expect, it } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { formatDuration, formatMib, formatTable, withProgress } from './terminal.ts'

describe('what people read', () => {
  it('aligns columns and leaves no blanks at line ends', () => {
    expect(formatTable([['A', 'NAME'], ['long one', 'x'], ['b', '']])).toBe('A         NAME\nlong one  x\nb')
  })

  it.each([
    [-5, '0 s'], [59_999, '59 s'], [60_000, '1 min'], [3_600_000 * 3 + 300_000, '3 h 5 min'], [86_400_000 * 2 + 3_600_000 * 4, '2 d 4 h'],
  ])('says %d ms as %s', (ms, text) => expect(formatDuration(ms)).toBe(text))

  it.each([[512, '512 MiB'], [1024, '1 GiB'], [1536, '1.5 GiB']])('says %d MiB as %s', (mib, text) => expect(formatMib(mib)).toBe(text))

  it('tells every four seconds that something goes on, until it ends', async () => {
    const clock = new VirtualClock(seededRandom(1))
    const lines: string[] = []
    const terminal = { out() {}, say: (line: string) => void lines.push(line) }
    const done = withProgress(clock, terminal, 'baking', () => clock.sleep(9_000))
    await clock.advance(60_000)
    await done
    expect(lines).toEqual(['baking … 4 s', 'baking … 8 s'])
  })
})
