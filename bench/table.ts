/** One figure beside its goal. */
export interface Goal {
  what: string
  value: number
  unit: string
  goal: number
  isMet: boolean
}

export interface GoalReport {
  goals: Goal[]
  notes: string[]
}

export function below(what: string, value: number, unit: string, goal: number): Goal {
  return { what, value, unit, goal, isMet: value < goal }
}

export function atLeast(what: string, value: number, unit: string, goal: number): Goal {
  return { what, value, unit, goal, isMet: value >= goal }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}

export function isMet(report: GoalReport): boolean {
  return report.goals.every((goal) => goal.isMet)
}

/** The report as a table for people. */
export function render({ goals, notes }: GoalReport): string {
  const lines = goals.map(({ what, value, unit, goal, isMet }) =>
    `${isMet ? 'met   ' : 'MISSED'} ${what.padEnd(62)}${format(value).padStart(8)} ${unit.padEnd(6)} goal ${format(goal)}`)
  return [...lines, '', ...notes, ''].join('\n')
}

function format(value: number): string {
  return value.toFixed(value < 10 ? 2 : 0)
}
