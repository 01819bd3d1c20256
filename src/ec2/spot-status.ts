/** The status of a request whose instance runs; the sentence is EC2's own. */
export const FULFILLED = { status: 'fulfilled', message: 'Your spot request is fulfilled.' } as const
