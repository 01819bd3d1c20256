import { chmod, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { checkExpected } from '../disk-formats/import-folder.ts'
import { DiskFormatError, inspectDiskFile, type DiskFile } from '../disk-formats/inspect.ts'
import { ensureHome, ensureHostId } from '../home.ts'
import { readChecksum, type Checksum } from '../images/checksum.ts'
import { fetchDisk, nameOf, parseSource, readText, type DiskSource } from '../images/fetch-disk.ts'
import { steadyProgress } from '../images/steady-progress.ts'
import { makeWorkFolder } from '../images/work-folder.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import {
  formatName, importTaskDoc, importTaskOf, insertImportTask, newImportTaskId, type ImportTaskDoc,
} from '../model/import-task.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { cloudHomeOf, type AnySettings } from '../realm.ts'
import { importFolderOf, type Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import { checkHomeFolder, hearthCommand, newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { formatMib, type Terminal } from './terminal.ts'
import { readUpRecord, settingsInForce } from './up-record.ts'

interface Flags {
  name: string
  description?: string
  sha256?: string
  sha512?: string
  architecture: string
  bootMode?: 'bios' | 'uefi'
  sshUser?: string
  rootDeviceName: string
  public?: boolean
  json?: boolean
}

/** What `hearth image import --json` prints. */
export interface Imported {
  imageId: string
  name: string
  importTaskId: string
  snapshotIds: string[]
  format: string
  sizeGib: number
  sshUser: string | null
}

const LOOK_MS = 200
const ARCHITECTURES = ['x86_64', 'i386', 'arm64']

/** `hearth image import`: an AMI of a disk as distributions publish them. */
export function addImageImport(image: Command, terminal: Terminal): void {
  const command = newCommand(image, 'import', 'make an AMI of a disk file or address: qcow2, raw, VMDK, VHD, VHDX', [
    'hearth image import debian-12-genericcloud-amd64.qcow2 --name debian-12',
    'hearth image import https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img \\\n'
      + '    --sha256 https://cloud-images.ubuntu.com/noble/current/SHA256SUMS --name noble',
    'hearth image import alpine-uefi.vhd --name alpine --boot-mode uefi --ssh-user alpine',
  ])
  command
    .argument('<file-or-url>', 'a file of this machine, or an http:// or https:// address; .xz, .gz, .bz2 and .zst are unpacked')
    .requiredOption('--name <name>', 'name of the AMI', nameArgument)
    .option('--description <text>', 'description of the AMI')
    .option('--sha256 <hex|list>', 'what the file must be: digits, or the address or file of a list such as SHA256SUMS')
    .option('--sha512 <hex|list>', 'the same by SHA-512')
    .option('--architecture <name>', ARCHITECTURES.join(', '), oneOfArgument(ARCHITECTURES), 'x86_64')
    .option('--boot-mode <mode>', 'bios or uefi (default: bios; uefi for arm64)', oneOfArgument(['bios', 'uefi']))
    .option('--ssh-user <name>', 'whom hearth ssh logs in as (default: by the name of the file, where it names a distribution)')
    .option('--root-device-name <name>', 'device name of the root volume', '/dev/xvda')
    .option('--public', 'let every account launch it')
    .option('--json', 'print what was made as JSON')
  withSettings(command).action(async (given: string) => {
    const imported = await importImage(settingsOf(command), given, command.opts<Flags>(), terminal)
    terminal.out(command.opts<Flags>().json ? JSON.stringify(imported, null, 2) : imported.imageId)
  })
}

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html */
function nameArgument(text: string): string {
  if (/^[A-Za-z0-9 ()[\]./\-'@_]{3,128}$/.test(text)) return text
  throw new InvalidArgumentError("It has 3 to 128 letters, digits, spaces, and ( ) [ ] . / - ' @ _")
}

function oneOfArgument<T extends string>(allowed: readonly T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((each) => each === text)
    if (found === undefined) throw new InvalidArgumentError(`It is one of ${allowed.join(', ')}.`)
    return found
  }
}

async function importImage(asked: AnySettings, given: string, flags: Flags, terminal: Terminal): Promise<Imported> {
  const home = cloudHomeOf(asked)
  checkHomeFolder(home)
  const up = readUpRecord(home)
  if (!up?.isRunning || !up.record.isReady) {
    throw new Error(`no cloud runs in ${home}, which would do this; start one: ${hearthCommand('up', { home })}`)
  }
  if (flags.architecture === 'arm64' && flags.bootMode === 'bios') throw new Error('arm64 boots by uefi only')
  const settings = settingsInForce(asked)
  const source = parseSource(given)
  const progress = steadyProgress(systemClock, terminal.say)
  try {
    const checksum = await checksumOf(flags, nameOf(source))
    return await withStore(settings, async (store) => {
      await checkName(store, flags.name)
      const { taskId, file, disk } = await bringIn(settings, source, checksum, progress.say)
      const sshUser = guessUser(flags.sshUser, nameOf(source))
      progress.say(`${nameOf(source)}: ${formatName(disk.format)}, ${formatMib(Math.ceil(disk.virtualSizeBytes / 2 ** 20))}; `
        + (sshUser === null ? 'whom SSH lets in is not known: --ssh-user says it' : `SSH lets in ${sshUser}`))
      await startTask(store, settings, { taskId, file, flags, sshUser })
      progress.say(`importing it as ${taskId}, which goes on when this command is ended`)
      return await watchTask(store, settings, taskId, progress.say)
    })
  } finally {
    progress.end()
  }
}

async function checksumOf(flags: Flags, fileName: string): Promise<Checksum | null> {
  if (flags.sha256 !== undefined && flags.sha512 !== undefined) throw new Error('give --sha256 or --sha512, not both')
  const read = (where: string, mostBytes: number) => readText(where, mostBytes, systemClock)
  if (flags.sha512 !== undefined) return readChecksum('sha512', flags.sha512, fileName, read)
  return flags.sha256 === undefined ? null : readChecksum('sha256', flags.sha256, fileName, read)
}

async function checkName(store: Store, name: string): Promise<void> {
  const taken = await store.read((db) => db
    .selectFrom('images').select('image_id')
    .where('account_id', '=', DEFAULT_ACCOUNT).where('name', '=', name).where('binned_ms', 'is', null).executeTakeFirst())
  if (taken) throw new Error(`${taken.image_id} has the name ${name} already; give another --name, or deregister it`)
}

/** Fetches the disk into the import folder, judged: what is wrong with it is told here already. */
async function bringIn(
  settings: Settings,
  source: DiskSource,
  checksum: Checksum | null,
  progress: (line: string) => void,
): Promise<{ taskId: string; file: string; disk: DiskFile }> {
  await ensureHome(settings.home)
  const folder = importFolderOf(settings)
  const work = await makeWorkFolder(folder, 'import').catch((error: NodeJS.ErrnoException) => {
    const advice = error.code === 'EACCES' ? '; run this as the user that runs hearth up' : ''
    throw new Error(`cannot write into ${folder} (${error.code})${advice}`, { cause: error })
  })
  try {
    const fetched = await fetchDisk(source, { clock: systemClock, work, checksum, progress })
    const disk = await judge(fetched, nameOf(source))
    // Then whoever converts it may read it; a second name of somebody's file keeps that file's mode.
    if ((await stat(fetched)).nlink === 1) await chmod(fetched, 0o444)
    const taskId = newImportTaskId(systemRandom, 'image')
    const file = path.join(folder, `${taskId}.img`)
    await rename(fetched, file)
    return { taskId, file, disk }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** What the agent will find, in words of the file that was given. */
async function judge(fetched: string, name: string): Promise<DiskFile> {
  try {
    const disk = await inspectDiskFile(fetched)
    checkExpected({ path: name.replace(/\.(xz|gz|bz2|zst)$/i, ''), format: disk.format }, null)
    return disk
  } catch (error) {
    if (!(error instanceof DiskFormatError)) throw error
    throw new Error(error.message.replaceAll(fetched, name), { cause: error })
  }
}

/** Names of distributions in names of files, and whom their images let in. */
const USERS = ['debian', 'ubuntu', 'fedora', 'alpine', 'rocky', 'almalinux', 'centos', 'arch', 'opensuse', 'freebsd', 'openbsd']
const ODD_USERS: Record<string, string> = { noble: 'ubuntu', jammy: 'ubuntu', focal: 'ubuntu', centos: 'cloud-user' }

/** Whom SSH lets in: who is said, or whom the name of the file suggests. */
export function guessUser(given: string | undefined, fileName: string): string | null {
  if (given !== undefined) return given
  const name = fileName.toLowerCase()
  const found = [...Object.keys(ODD_USERS), ...USERS].find((each) => name.includes(each))
  return found === undefined ? null : (ODD_USERS[found] ?? found)
}

/** Asks the agent of this home for the image, as ImportImage would, with what only a person here may say. */
async function startTask(
  store: Store,
  settings: Settings,
  { taskId, file, flags, sshUser }: { taskId: string; file: string; flags: Flags; sshUser: string | null },
): Promise<void> {
  const hostId = await ensureHostId(settings.home, systemRandom)
  const nowMs = systemClock.now()
  const bootMode = flags.bootMode === 'uefi' || flags.architecture === 'arm64' ? 'uefi' : 'legacy-bios'
  try {
    await store.transaction('image.import', async (db) => insertImportTask(
      { db, nowMs }, { taskId, account: DEFAULT_ACCOUNT, kind: 'image', hostId },
      {
        description: flags.description ?? null,
        // Where the account has everything encrypted, this as well.
        kmsKeyId: await requestedKmsKey({ db, account: DEFAULT_ACCOUNT, region: settings.region, random: systemRandom, nowMs }, {}),
        disks: [{
          url: null, file, isOwned: true, format: null, description: flags.name, deviceName: flags.rootDeviceName,
          snapshotId: null,
        }],
        image: {
          name: flags.name, description: flags.description ?? null, architecture: flags.architecture, bootMode,
          isPublic: flags.public === true, sshUser,
        },
      }))
  } catch (error) {
    await rm(file, { force: true })
    throw error
  }
}

/** Tells how far the task is, until it is over. @throws Error with what went wrong. */
async function watchTask(store: Store, settings: AnySettings, taskId: string, say: (line: string) => void): Promise<Imported> {
  let told = ''
  for (;;) {
    const row = await store.read((db) => importTaskOf(db, taskId))
    if (!row) throw new Error(`${taskId} is gone`)
    const doc = importTaskDoc(row)
    if (row.state === 'completed') return importedOf(taskId, doc)
    if (row.state === 'deleted') throw new Error(`${taskId} was cancelled: ${doc.statusMessage}`)
    if (row.state === 'error') throw new Error(`the import failed: ${doc.statusMessage.replace(/^ClientError: /, '')}`)
    const percent = doc.progressPercent - (doc.progressPercent % 5)
    const line = doc.statusMessage === 'converting' ? `converting: ${percent} %` : doc.statusMessage
    if (line !== told) say(line)
    told = line
    if (!readUpRecord(cloudHomeOf(settings))?.isRunning) {
      throw new Error(`the cloud has ended; ${taskId} goes on with the next ${hearthCommand('up', { home: cloudHomeOf(settings) })}`)
    }
    await systemClock.sleep(LOOK_MS)
  }
}

function importedOf(taskId: string, doc: ImportTaskDoc): Imported {
  const [root] = doc.disks
  return {
    imageId: doc.imageId ?? '', name: doc.image?.name ?? taskId, importTaskId: taskId,
    snapshotIds: doc.disks.flatMap((disk) => disk.snapshotId ?? []), format: formatName(root?.found?.format ?? 'raw'),
    sizeGib: root?.found?.sizeGib ?? 0, sshUser: doc.image?.sshUser ?? null,
  }
}
