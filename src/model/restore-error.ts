/** A terminated instance that cannot be had again, in a sentence for people that says why, and what to do. */
export class RestoreError extends Error {}
