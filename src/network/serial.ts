/** Runs tasks of the same key one after the other, in the order they came; other keys side by side. */
export type Serial = <T>(key: string, task: () => Promise<T>) => Promise<T>

/** A queue per key; a task that fails does not stop those behind it. */
export function createSerial(): Serial {
  const tails = new Map<string, Promise<unknown>>()
  return (key, task) => {
    const result = (tails.get(key) ?? Promise.resolve()).then(task)
    const tail = result.then(
      () => {},
      () => {},
    )
    tails.set(key, tail)
    void tail.then(() => {
      if (tails.get(key) === tail) tails.delete(key)
    })
    return result
  }
}
