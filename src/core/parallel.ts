/**
 * Runs `run` for every item, at most `limit` at once; the results are in the order of the items. After a failure no more are
 * begun, and the first one is thrown when those under way have ended: nothing goes on behind the back of whoever catches it.
 */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  limit: number,
  run: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  let next = 0
  const work = async () => {
    while (next < items.length) {
      const index = next++
      try {
        results[index] = await run(items[index] as Item)
      } catch (error) {
        next = items.length
        throw error
      }
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, work))
  const failed = ends.find((each) => each.status === 'rejected')
  if (failed) throw failed.reason
  return results
}
