/** What is asked of the agent in one piece of work: a picture of a screen, perhaps with a key pressed before it. */
export interface ScreenshotOrder {
  instanceId: string
  wakeUp: boolean
}

const WAKE_UP = ' wake-up'

/** The id of the work; an ordinary screenshot and one that wakes the guest up are two. */
export function screenshotWorkId({ instanceId, wakeUp }: ScreenshotOrder): string {
  return wakeUp ? `${instanceId}${WAKE_UP}` : instanceId
}

/** What a work id of `screenshotWorkId` asks for. */
export function screenshotOrder(workId: string): ScreenshotOrder {
  const wakeUp = workId.endsWith(WAKE_UP)
  return { instanceId: wakeUp ? workId.slice(0, -WAKE_UP.length) : workId, wakeUp }
}
