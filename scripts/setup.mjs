// Installs what is missing and nothing else: npm packages, and Debian packages where it may. A
// second run finds nothing to do, in some milliseconds. Runs before node_modules exists, so it has
// no dependencies.
//
//   node scripts/setup.mjs [--engine sim] [--test]
//
// --engine sim needs no packages of the system; --test installs what the tests use on top.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import {
  COMPILER_PACKAGES, distributionOf, isCompilerMissing, isListStale, isNodeRecent, LEAST_NODE, missingPackages,
  readArguments, remedyFor,
} from './setup-plan.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
/** Says for which package-lock.json, and which Node, node_modules was made. */
const stamp = path.join(root, 'node_modules/.hearth-setup')
const PROGRESS_INTERVAL_MS = 4000

const say = (line) => process.stderr.write(`${line}\n`)

/** An end that was explained; the message is all a person needs. */
class SetupError extends Error {}

/**
 * Sets up what is missing.
 *
 * @throws SetupError that says what to do.
 */
export async function setup(words, { isStart = false } = {}) {
  const { isTest, engine } = readArguments(words, process.env)
  if (!isNodeRecent(process.versions.node)) {
    throw new SetupError(`Hearth needs Node ${LEAST_NODE.join('.')} or newer, and this is ${process.versions.node}. `
      + 'See https://nodejs.org/en/download, or: nvm install 22')
  }
  const distribution = distributionOf(readIfThere('/etc/os-release'))
  await installDebianPackages(missingPackages({ engine, isTest, distribution }, isThere), { distribution, isStart })
  await installNodePackages({ distribution, isStart })
}

async function installDebianPackages(packages, { distribution, isStart }) {
  if (packages.length === 0) return
  say('Missing on this system:')
  for (const { name, why } of packages) say(`  ${name.padEnd(18)}${why}`)
  const prefix = distribution.isDebian && existsSync('/usr/bin/apt-get') ? rights() : undefined
  if (!prefix) throw new SetupError(remedyFor({ packages, distribution, isStart }).join('\n'))
  const names = packages.map((each) => each.name)
  const command = [...prefix, 'apt-get', 'install', '-y', '--no-install-recommends', ...names]
  const install = () => run(command, `installing ${names.join(' ')}`)
  let result = await install()
  if (result.status !== 0 && isListStale(result.output)) {
    const update = await run([...prefix, 'apt-get', 'update'], "refreshing apt's package lists")
    if (update.status === 0) result = await install()
    else result = update
  }
  if (result.status !== 0) throw new SetupError(`${gist(result.output)}\napt-get failed; see above, mend it and run this again`)
}

/** What goes before a command that needs root; undefined when there is no way without a password. */
function rights() {
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'NEEDRESTART_MODE=a']
  if (process.getuid() === 0) return apt
  const sudo = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' })
  return sudo.status === 0 ? ['sudo', '-n', ...apt] : undefined
}

async function installNodePackages(situation) {
  const wanted = createHash('sha256')
    .update(readFileSync(path.join(root, 'package-lock.json')))
    .update(`node ${process.versions.modules} ${process.arch}`)
    .digest('hex')
  if (readIfThere(stamp).trim() === wanted) return
  rmSync(stamp, { force: true })
  let result = await npmInstall()
  const compiler = COMPILER_PACKAGES.filter((each) => !each.files.every(isThere))
  if (result.status !== 0 && isCompilerMissing(result.output) && compiler.length > 0) {
    say('npm found no ready binary of better-sqlite3 for this system, so it must be compiled.')
    await installDebianPackages(compiler, situation)
    result = await npmInstall()
  }
  if (result.status !== 0) throw new SetupError(`${gist(result.output)}\nnpm failed; see above, mend it and run this again`)
  writeFileSync(stamp, `${wanted}\n`)
}

/**
 * Installs the versions of package-lock.json. Unlike `npm ci`, this keeps what is there already, and
 * does with a registry that lacks optional binaries of other systems.
 */
function npmInstall() {
  // Scripts in the foreground, so that a compiler at work can be told from nothing happening.
  const words = ['--no-save', '--include=dev', '--no-audit', '--no-fund', '--foreground-scripts']
  return run(['npm', 'install', ...words], 'installing npm packages', nodeHeaders())
}

/**
 * Where a module must be compiled, node-gyp downloads Node's headers unless it is told where they
 * are; most installations have them beside the program.
 */
function nodeHeaders() {
  const prefix = path.dirname(path.dirname(process.execPath))
  const isThereAlready = process.env.npm_config_nodedir !== undefined
  return !isThereAlready && existsSync(path.join(prefix, 'include/node/node.h')) ? { npm_config_nodedir: prefix } : {}
}

/** Runs a command to its end, with a line every few seconds; answers its status and what it said. */
function run([program, ...words], what, environment = {}) {
  return new Promise((resolve) => {
    const begunMs = Date.now()
    const seconds = () => Math.round((Date.now() - begunMs) / 1000)
    say(`${what} …`)
    const child = spawn(program, words, {
      cwd: root, env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    let last = ''
    const take = (chunk) => {
      output += chunk
      last = String(chunk).split('\n').findLast((line) => line.trim() !== '' && !/^npm (warn|notice)/.test(line))?.trim() ?? last
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    const ticker = setInterval(() => say(`  ${seconds()} s${last && ': '}${last.slice(0, 100)}`), PROGRESS_INTERVAL_MS)
    const finish = (status) => {
      clearInterval(ticker)
      if (status === 0) say(`  done in ${seconds()} s`)
      resolve({ status, output })
    }
    child.on('error', (error) => {
      output += `${program}: ${error.message}\n`
      finish(127)
    })
    child.on('close', (status) => finish(status ?? 1))
  })
}

/** Whether a program (or, with an absolute path, a file, where * is any one folder) is there. */
function isThere(file) {
  const [before, after] = file.split('/*/')
  if (after !== undefined) return existsSync(before) && readdirSync(before).some((name) => existsSync(path.join(before, name, after)))
  if (file.startsWith('/')) return existsSync(file)
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']
  return folders.some((folder) => folder !== '' && existsSync(path.join(folder, file)))
}

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** The first and the last lines of what a failed command said. */
function gist(text) {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return (lines.length > 20 ? [...lines.slice(0, 10), '  …', ...lines.slice(-10)] : lines).join('\n')
}

/** Runs `body`; a failure that was explained ends the process with its message alone. */
export async function orExplain(body) {
  try {
    return await body()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(`\n${error.message}`)
    process.exit(1)
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await orExplain(() => setup(process.argv.slice(2)))
}
