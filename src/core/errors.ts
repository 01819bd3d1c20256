/**
 * An error that a client of the API is meant to see.
 *
 * `code` is EC2's own error code ("InvalidInstanceID.NotFound"), `message` the sentence a person
 * reads, `httpStatus` what EC2 answers for it (400 unless documented otherwise). `reason` is what some
 * JSON services tell beside the two.
 */
export class ApiError extends Error {
  readonly code: string
  readonly httpStatus: number
  readonly reason: string | undefined

  constructor(code: string, message: string, httpStatus = HTTP_STATUS[code] ?? 400, reason?: string) {
    super(message)
    this.name = 'ApiError'
    this.code = code
    this.httpStatus = httpStatus
    this.reason = reason
  }
}

/** Codes that EC2 answers with something other than 400. */
const HTTP_STATUS: Record<string, number> = {
  AuthFailure: 401,
  UnauthorizedOperation: 403,
  DryRunOperation: 412,
  InsufficientHostCapacity: 500,
  InsufficientInstanceCapacity: 500,
  InternalError: 500,
  RequestLimitExceeded: 503,
  Unavailable: 503,
}

/** Thrown where a process was told to die by a crash point; nothing may catch it and go on. */
export class CrashError extends Error {
  constructor(point: string) {
    super(`crashed at ${point}`)
    this.name = 'CrashError'
  }
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
