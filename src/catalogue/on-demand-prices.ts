import { readFileSync } from 'node:fs'
import { projectFile } from './project-file.ts'

/** Where they are from, see NOTICE. */
export const ON_DEMAND_SOURCE = 'AWS\'s list prices of Linux in us-east-1, as aws/karpenter-provider-aws had them on 20 July 2026'

let prices: Record<string, number> | undefined

/** Dollars per hour of a Linux instance of that type on demand, in us-east-1; undefined for a type without a known price. */
export function onDemandPrice(typeName: string): number | undefined {
  prices ??= JSON.parse(readFileSync(projectFile('data/on-demand-prices.us-east-1.json'), 'utf8')) as Record<string, number>
  return Object.hasOwn(prices, typeName) ? prices[typeName] : undefined
}

/** The same in whole micro-dollars, which all sums of money are made in. */
export function onDemandMicroUsd(typeName: string): number | undefined {
  const price = onDemandPrice(typeName)
  return price === undefined ? undefined : Math.round(price * 1_000_000)
}
