/** A value from then on. */
export interface ChartPoint {
  atMs: number
  value: number
}

export interface ChartOptions {
  fromMs: number
  untilMs: number
  /** Columns and lines of the drawing itself. */
  width: number
  height: number
  /** The values at the lower and the upper edge; they may be the same. */
  least: number
  most: number
  isUnicode: boolean
}

/** Dots of a braille cell, by column and by line from above. https://www.unicode.org/charts/PDF/U2800.pdf */
const DOTS = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]] as const
const BRAILLE = 0x2800

/** What a series was at its least and its most within a slice of time; undefined before it begins. */
export function rangeOf(points: readonly ChartPoint[], fromMs: number, untilMs: number): { least: number; most: number } | undefined {
  const before = points.findLast((point) => point.atMs <= fromMs)
  const values = [...(before ? [before] : []), ...points.filter(({ atMs }) => atMs > fromMs && atMs < untilMs)].map(({ value }) => value)
  return values.length === 0 ? undefined : { least: Math.min(...values), most: Math.max(...values) }
}

/**
 * Draws a value that changes in steps: in braille dots, of which a character has two by four, or in ASCII, a line a character. Each
 * column has all that the value was in its time, so that no peak is lost, however many changes there are.
 */
export function drawChart(points: readonly ChartPoint[], options: ChartOptions): string[] {
  const { width, height, isUnicode } = options
  const [across, down] = isUnicode ? [2, 4] : [1, 1]
  const grid = dotsOf(points, options, { columns: width * across, lines: height * down })
  return Array.from({ length: height }, (_line, line) => Array.from({ length: width }, (_column, column) => {
    if (!isUnicode) return grid[line]?.[column] === true ? '*' : ' '
    let code = 0
    for (let x = 0; x < 2; x++) {
      for (let y = 0; y < 4; y++) if (grid[line * 4 + y]?.[column * 2 + x] === true) code += DOTS[x]?.[y] ?? 0
    }
    return code === 0 ? ' ' : String.fromCodePoint(BRAILLE + code)
  }).join('').trimEnd())
}

function dotsOf(
  points: readonly ChartPoint[],
  { fromMs, untilMs, least, most }: ChartOptions,
  { columns, lines }: { columns: number; lines: number },
): boolean[][] {
  const grid = Array.from({ length: lines }, () => Array.from({ length: columns }, () => false))
  const lineOf = (value: number) => (most === least ? lines - 1 : Math.round((1 - (value - least) / (most - least)) * (lines - 1)))
  const sliceMs = (untilMs - fromMs) / columns
  let last: number | undefined
  for (let column = 0; column < columns; column++) {
    const range = rangeOf(points, fromMs + column * sliceMs, fromMs + (column + 1) * sliceMs)
    if (!range) continue
    // A step is drawn as one, from where the value was before.
    const top = Math.min(lineOf(range.most), last ?? Infinity)
    const bottom = Math.max(lineOf(range.least), last ?? -Infinity)
    for (let line = top; line <= bottom; line++) {
      const dots = grid[line]
      if (dots) dots[column] = true
    }
    const end = points.findLast(({ atMs }) => atMs < fromMs + (column + 1) * sliceMs)
    last = end && lineOf(end.value)
  }
  return grid
}

const BARS = { unicode: '▁▂▃▄▅▆▇█', ascii: '_.-=+*#@' }

/** The same in one line: how high it was in each slice of time, by its own least and most. */
export function sparkline(points: readonly ChartPoint[], { fromMs, untilMs, width, isUnicode }: Pick<ChartOptions, 'fromMs' | 'untilMs' | 'width' | 'isUnicode'>): string {
  const whole = rangeOf(points, fromMs, untilMs)
  const bars = [...(isUnicode ? BARS.unicode : BARS.ascii)]
  if (!whole) return ''
  const sliceMs = (untilMs - fromMs) / width
  return Array.from({ length: width }, (_, column) => {
    const range = rangeOf(points, fromMs + column * sliceMs, fromMs + (column + 1) * sliceMs)
    if (!range) return ' '
    const part = whole.most === whole.least ? 0 : (range.most - whole.least) / (whole.most - whole.least)
    return bars[Math.round(part * (bars.length - 1))] ?? ''
  }).join('')
}
