/** What is posted to a webhook. */
export interface Post {
  url: string
  headers: Record<string, string>
  body: string
}

export interface PostReply {
  /** Of HTTP. */
  status: number
  /** How long it wants to be left alone, where it says that. */
  retryAfterMs: number | null
}

/** The way out of the cloud for events; injected, so that tests and the simulator have one of their own. */
export interface Delivery {
  /** @throws Error where nobody answers in time, or before the signal. */
  post(post: Post, signal?: AbortSignal): Promise<PostReply>
  /** Adds lines to a file, and comes back when they would survive a power cut. @throws Error with none of them added. */
  append(file: string, lines: readonly string[]): Promise<void>
}

/** Where there is no way out, every delivery fails, and so is tried again. */
export const NO_DELIVERY: Delivery = {
  post: () => Promise.reject(new Error('nothing leaves this cloud')),
  append: () => Promise.reject(new Error('nothing leaves this cloud')),
}
