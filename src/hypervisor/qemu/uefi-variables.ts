import {
  closeSync, constants, fchmodSync, fchownSync, fstatSync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync,
  rmSync, writeSync,
} from 'node:fs'

/**
 * Makes a machine's own firmware variables of what they begin as, unless it has some, and its user the
 * owner. They are kept as long as the machine: boot entries that its guest made are in there.
 *
 * @throws Error when something else than a plain file is in its place: the folder is the machine's user's, too.
 */
export function ensureUefiVariables(file: string, template: string, uid: number | null): void {
  const handle = openPlain(file) ?? openPlain(makeFrom(template, file))
  if (handle === undefined) throw new Error(`${file} is gone again`)
  try {
    if (uid === null) return
    fchownSync(handle, uid, uid)
    fchmodSync(handle, 0o600)
  } finally {
    closeSync(handle)
  }
}

function openPlain(file: string): number | undefined {
  let handle: number
  try {
    handle = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const stat = fstatSync(handle)
  if (stat.isFile() && stat.nlink === 1) return handle
  closeSync(handle)
  throw new Error(`${file} is not a plain file`)
}

/** The template is up to 64 MiB, nearly all of it nothing: only what is there takes room. */
function makeFrom(template: string, file: string): string {
  const content = readFileSync(template)
  let end = content.length
  while (end > 0 && content[end - 1] === 0) end--
  const temporary = `${file}.${process.pid}.tmp`
  rmSync(temporary, { force: true })
  const handle = openSync(temporary, 'wx', 0o600)
  try {
    writeSync(handle, content, 0, end)
    ftruncateSync(handle, content.length)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(temporary, file)
  return file
}
