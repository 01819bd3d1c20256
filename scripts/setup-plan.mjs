// What set-up decides, apart from doing it: pure functions, tested in src/cli/setup-plan.test.ts.

/** Least version of Node; package.json's "engines" says the same. */
export const LEAST_NODE = [20, 19]

/**
 * Debian packages by why they are needed, each with a file that tells that it is there: a program
 * in one of the folders of programs, or an absolute path, with * for a folder. A program that came another way counts.
 */
const PACKAGES = [
  { name: 'qemu-system-x86', why: 'runs the machines', files: ['qemu-system-x86_64'] },
  { name: 'qemu-utils', why: 'makes their disks', files: ['qemu-img'] },
  { name: 'iproute2', why: 'makes the network of a VPC', files: ['ip'] },
  { name: 'nftables', why: 'enforces security groups', files: ['nft'] },
  { name: 'util-linux', why: 'runs machines as users without rights', files: ['nsenter', 'setpriv'] },
  { name: 'e2fsprogs', why: 'makes the file system of the tiny image', files: ['mke2fs', 'debugfs'] },
  { name: 'mtools', why: 'makes the boot partition of the tiny image', files: ['mformat', 'mcopy'] },
  { name: 'syslinux', why: 'makes the tiny image boot', files: ['syslinux'] },
  { name: 'syslinux-common', why: 'makes the tiny image boot', files: ['/usr/lib/syslinux/mbr/mbr.bin'] },
  { name: 'mmdebstrap', why: 'builds the Debian image', files: ['mmdebstrap'] },
  {
    name: 'debian-archive-keyring', why: "checks the Debian image's packages", only: 'ubuntu',
    files: ['/usr/share/keyrings/debian-archive-keyring.gpg'],
  },
  { name: 'openssh-client', why: 'opens shells in machines', files: ['ssh', 'ssh-keygen'] },
  { name: 'zstd', why: "unpacks Ubuntu's kernel modules", files: ['zstd'], only: 'ubuntu' },
]

/** What the tests use on top. */
const TEST_PACKAGES = [
  { name: 'busybox-static', why: 'tests: a small guest', files: ['busybox'] },
  { name: 'openssl', why: 'tests: other keys than ours', files: ['openssl'] },
  { name: 'awscli', why: 'tests: the API from outside', files: ['aws'] },
  { name: 'ovmf', why: 'tests: guests that boot by UEFI', files: ['/usr/share/OVMF/OVMF_CODE_4M.fd'] },
  { name: 'postgresql', why: 'tests: the other database', files: ['/usr/lib/postgresql/*/bin/initdb'] },
]

/** What compiles better-sqlite3 where npm finds no binary of it. */
export const COMPILER_PACKAGES = [
  { name: 'python3', why: 'compiles better-sqlite3', files: ['python3'] },
  { name: 'make', why: 'compiles better-sqlite3', files: ['make'] },
  { name: 'g++', why: 'compiles better-sqlite3', files: ['g++'] },
]

/** Whether this version of Node ("20.19.0") will do. */
export function isNodeRecent(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])
}

/**
 * Reads the command line of set-up and of `npm start`: everything but `--test` belongs to
 * `hearth up`, of which set-up only wants to know the engine.
 */
export function readArguments(words, environment) {
  let engine = environment.HEARTH_ENGINE || 'auto'
  words.forEach((word, index) => {
    if (word === '--engine') engine = words[index + 1] ?? engine
    else if (word.startsWith('--engine=')) engine = word.slice('--engine='.length)
  })
  return { isTest: words.includes('--test'), engine }
}

/** Words of /etc/os-release that matter: ID and ID_LIKE. */
export function distributionOf(osRelease) {
  const read = (key) => new RegExp(`^${key}="?([^"\n]*)"?$`, 'm').exec(osRelease)?.[1] ?? ''
  const ids = [read('ID'), ...read('ID_LIKE').split(' ')].filter((id) => id !== '')
  const isDebian = ids.includes('debian') || ids.includes('ubuntu')
  return { ids, name: read('PRETTY_NAME') || read('ID') || 'this system', isDebian }
}

/** Packages without which something is missing here; `isThere` looks for one of their files. */
export function missingPackages({ engine, isTest, distribution }, isThere) {
  const wanted = [...(engine === 'sim' ? [] : PACKAGES), ...(isTest ? TEST_PACKAGES : [])]
  return wanted
    .filter((each) => each.only === undefined || distribution.ids.includes(each.only))
    .filter((each) => !each.files.every(isThere))
}

/** The line that installs packages on Debian and Ubuntu. */
export function installLine(packages) {
  const names = packages.map((each) => each.name).join(' ')
  return `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names}`
}

/** What to tell a person whom set-up cannot help. */
export function remedyFor({ packages, distribution, isStart }) {
  const lines = distribution.isDebian
    ? ['Hearth needs root, or sudo without a password, to install these. Install them yourself:', '', `  ${installLine(packages)}`]
    : [`Hearth can install these on Debian and Ubuntu only, and this is ${distribution.name}.`,
      `Install what has: ${packages.flatMap((each) => each.files).join(', ')}`]
  lines.push('', isStart
    ? 'and run `npm start` again; or have simulated machines, which need nothing of this:'
    : 'and run this again; simulated machines need nothing of this:')
  return [...lines, '', '  npm start -- --engine sim']
}

/** Whether what apt-get said means that its lists are missing or old. */
export function isListStale(output) {
  return /Unable to locate package|has no installation candidate|Failed to fetch|404 +Not Found|Unable to fetch/i.test(output)
}

/** Whether what npm said means that it could not compile a package. */
export function isCompilerMissing(output) {
  return /gyp ERR!|node-gyp|not found: make|prebuild-install/i.test(output)
}
