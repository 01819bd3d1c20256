/** What a terminal, or whatever stands in its place, can show. */
export interface TerminalLook {
  columns: number
  isTerminal: boolean
  /** Whether characters beyond ASCII come out as they are. */
  isUnicode: boolean
  hasColour: boolean
}

/** Narrower ones are drawn for as if they were so wide. */
const LEAST_COLUMNS = 40

/**
 * What standard output can show: its width, UTF-8 where the locale says so, and colours on a terminal unless NO_COLOR is set
 * (https://no-color.org) or it is dumb.
 */
export function lookOf(
  output: { isTTY?: boolean | undefined; columns?: number | undefined },
  environment: Record<string, string | undefined>,
): TerminalLook {
  const isTerminal = output.isTTY === true
  const isDumb = environment.TERM === 'dumb'
  const locale = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || ''
  const columns = output.columns ?? Number.parseInt(environment.COLUMNS ?? '', 10)
  return {
    columns: Number.isInteger(columns) && columns > 0 ? Math.max(LEAST_COLUMNS, columns) : 80,
    isTerminal, isUnicode: !isDumb && /utf-?8/i.test(locale), hasColour: isTerminal && !isDumb && !environment.NO_COLOR,
  }
}
