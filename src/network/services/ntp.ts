/** Modes and versions of RFC 5905, 7.3. */
const CLIENT = 3
const SERVER = 4
const NEWEST_VERSION = 4
const MESSAGE_BYTES = 48

/**
 * What the answers say of their clock (RFC 5905, 7.3): it is the host's, taken as it is. Nobody here
 * knows what that follows or how well, so it claims what servers of an undisciplined clock claim by
 * convention: stratum 10 (a guest that has a better source prefers it) and 127.127.1.1 as the source. It
 * is read in milliseconds, by a process that may be busy for some more.
 */
const STRATUM = 10
const LOCAL_CLOCK = 0x7f7f_0101
const PRECISION_LOG2_SECONDS = -10
const ROOT_DISPERSION_MS = 10

/** From NTP's epoch, 1900, to that of Unix. */
const EPOCH_OFFSET_SECONDS = 2_208_988_800
/** Seconds are counted in 32 bits and begin anew in 2036; clients know by their own clock. */
const ERA_SECONDS = 2 ** 32

/**
 * Answers one (S)NTP request that came in at `receivedMs`; undefined when it is none: junk, an answer,
 * another mode. Extensions and keys are left out of the answer, by which a client sees that they are
 * not known here. An answer is never longer than its request.
 */
export function answerNtp(request: Buffer, receivedMs: number, nowMs: () => number): Buffer | undefined {
  if (request.length < MESSAGE_BYTES) return undefined
  const flags = request.readUInt8(0)
  const version = (flags >> 3) & 7
  if ((flags & 7) !== CLIENT || version < 1 || version > NEWEST_VERSION) return undefined
  const answer = Buffer.alloc(MESSAGE_BYTES)
  answer.writeUInt8((version << 3) | SERVER, 0)
  answer.writeUInt8(STRATUM, 1)
  // The client's own polling interval goes back to it.
  request.copy(answer, 2, 2, 3)
  answer.writeInt8(PRECISION_LOG2_SECONDS, 3)
  answer.writeUInt32BE(Math.ceil((ROOT_DISPERSION_MS * 65_536) / 1000), 8)
  answer.writeUInt32BE(LOCAL_CLOCK, 12)
  writeTimestamp(answer, 16, receivedMs)
  // What the client sent as its time is how it knows the answer to its request.
  request.copy(answer, 24, 40, MESSAGE_BYTES)
  writeTimestamp(answer, 32, receivedMs)
  writeTimestamp(answer, 40, nowMs())
  return answer
}

function writeTimestamp(bytes: Buffer, offset: number, timeMs: number): void {
  const seconds = Math.floor(timeMs / 1000)
  bytes.writeUInt32BE((seconds + EPOCH_OFFSET_SECONDS) % ERA_SECONDS, offset)
  bytes.writeUInt32BE(Math.floor(((timeMs - seconds * 1000) / 1000) * 2 ** 32), offset + 4)
}
