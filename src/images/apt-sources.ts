import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import { run } from './run.ts'

/** Debian's keys, under the same name on hosts and in the release itself. */
export const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
const FIELDS = ['ORIGIN', 'CODENAME', 'RELEASE', 'COMPONENT', 'ARCHITECTURE', 'CREATED_BY', 'REPO_URI']

/**
 * The lines for sources.list by which this host gets the Debian release `suite`, with its updates;
 * undefined when the host has no such sources, so that mmdebstrap takes Debian's own servers.
 *
 * Fresh lists go to `work`; the host's own stay as they are.
 */
export async function debianSources(suite: string, work: string, progress: (line: string) => void): Promise<string | undefined> {
  const lists = path.join(work, 'lists')
  await mkdir(path.join(lists, 'partial'), { recursive: true })
  const options = ['APT::Sandbox::User=root', `Dir::State::lists=${lists}`, 'Acquire::Languages=none']
  const words = options.flatMap((option) => ['-o', option])
  progress("reading this host's apt sources")
  try {
    await run('apt-get', [...words, '-q', 'update'])
  } catch (error) {
    // One source that is out of reach need not be Debian's.
    progress(`some of this host's apt sources failed: ${messageOf(error).split('\n').at(-1) ?? ''}`)
  }
  const format = FIELDS.map((field) => `$(${field})`).join('\t')
  const lines = sourceLines(suite, await run('apt-get', [...words, 'indextargets', '--format', format]))
  if (lines.length > 0) return `${lines.join('\n')}\n`
  progress(`this host's apt sources are not those of Debian ${suite}: taking its packages from Debian's own servers`)
  return undefined
}

/**
 * Chooses from apt's index targets, by what the signed Release files say: the release's main
 * archive and updates, of Debian's own making, that a guest may use as well. None when the release
 * itself is not among them.
 */
export function sourceLines(suite: string, targets: string): string[] {
  const found = targets.split('\n').map((line) => {
    const [origin, codename, release, component, architecture, createdBy, uri = ''] = line.split('\t')
    const isRelease = codename === suite || codename?.startsWith(`${suite}-`)
    const isWanted = origin === 'Debian' && isRelease && component === 'main' && architecture === 'amd64' && createdBy === 'Packages'
    // Neither a folder of this host nor anybody's password is for the guests.
    return isWanted && /^https?:\/\/[^@]+$/.test(uri) ? { codename, line: `deb [signed-by=${KEYRING}] ${uri} ${release} main` } : undefined
  })
  const chosen = found.filter((each) => each !== undefined)
  return chosen.some((each) => each.codename === suite) ? [...new Set(chosen.map((each) => each.line))] : []
}

/** The host's proxies for apt, as lines of apt.conf. */
export async function hostProxies(): Promise<string> {
  const text = await run('apt-config', ['dump', '--no-empty', '--format', '%f "%v";%n', 'Acquire'])
  return text.split('\n').filter((line) => /^Acquire::\w+::[^ ]*Proxy[^ ]* /i.test(line)).map((line) => `${line}\n`).join('')
}
