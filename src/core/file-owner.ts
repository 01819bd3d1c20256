import { lchownSync, lstatSync } from 'node:fs'
import path from 'node:path'

/**
 * Gives a file to the owner of its folder. Root writes in a home that belongs to the person who
 * said `sudo`: what they would write themselves is theirs. Nothing happens for anybody but root.
 */
export function giveToFolderOwner(file: string): void {
  if (process.getuid?.() !== 0) return
  const folder = lstatSync(path.dirname(file))
  const present = lstatSync(file)
  // A link belongs where it points to; following one would give away another file.
  if (present.isSymbolicLink() || (present.uid === folder.uid && present.gid === folder.gid)) return
  lchownSync(file, folder.uid, folder.gid)
}
