/**
 * What a simulated layer holds itself: by block, the number that was last written there. Enough to tell
 * whether a snapshot is of one moment, and whether anything that was written got lost.
 */
export type LayerData = Map<number, number>

/** What layers show together, from the top. */
export function readThrough(chain: readonly LayerData[]): LayerData {
  const shown: LayerData = new Map()
  for (const layer of chain.toReversed()) for (const [block, value] of layer) shown.set(block, value)
  return shown
}

/** Has a layer hold what it and those directly under it show. */
export function bringUp(top: LayerData, middle: readonly LayerData[]): void {
  for (const [block, value] of readThrough([top, ...middle])) top.set(block, value)
}
