import { lchownSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { giveToFolderOwner } from './core/file-owner.ts'

/** The person behind `sudo`. */
export interface SudoUser {
  uid: number
  gid: number
  /** Their home directory. */
  folder: string
}

/** Who said `sudo`; undefined when nobody did, or root itself. `accounts` is the text of /etc/passwd. */
export function sudoUser(
  environment: Record<string, string | undefined>,
  { isRoot = process.getuid?.() === 0, accounts = () => readFileSync('/etc/passwd', 'utf8') } = {},
): SudoUser | undefined {
  const uid = Number(environment.SUDO_UID)
  if (!isRoot || !Number.isInteger(uid) || uid <= 0) return undefined
  const fields = accounts().split('\n').map((line) => line.split(':')).find((line) => Number(line[2]) === uid && line[2] !== '')
  const [, , , gid, , folder] = fields ?? []
  return folder?.startsWith('/') ? { uid, gid: Number(gid), folder } : undefined
}

/** `~/.hearth` of whoever runs this: under sudo, of the person and not of root. */
export function defaultHome(environment: Record<string, string | undefined>): string {
  return path.join(sudoUser(environment)?.folder ?? homedir(), '.hearth')
}

/** Folders of a home whose files its owner reads or writes without root; the others are the machines'. */
const OWNERS_FOLDERS = ['accounts', 'keys', 'logs', 'run']

/**
 * Gives a new home to the person behind sudo, when it lies in their home directory; and in every
 * home what its owner needs without root to the owner, also what an earlier command left as root's.
 * Nothing happens for anybody but root.
 */
export function settleOwner(home: string, isNew: boolean, environment: Record<string, string | undefined>): void {
  if (process.getuid?.() !== 0) return
  const user = sudoUser(environment)
  if (isNew && user && home.startsWith(`${user.folder}/`)) lchownSync(home, user.uid, user.gid)
  for (const entry of readdirSync(home, { withFileTypes: true })) {
    if (entry.isFile()) giveToFolderOwner(path.join(home, entry.name))
  }
  // What lies in there may have another name elsewhere, and so another owner's reasons.
  giveToFolderOwner(path.join(home, 'imports'))
  for (const name of OWNERS_FOLDERS) {
    const folder = path.join(home, name)
    giveToFolderOwner(folder)
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isFile()) giveToFolderOwner(path.join(folder, entry.name))
    }
  }
}
