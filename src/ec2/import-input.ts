import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ImageDiskContainer, SnapshotDiskContainer } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { FORMAT_NAMES, type ImportDisk } from '../model/import-task.ts'
import type { DiskFormat } from '../volumes/driver.ts'
import type { Context } from './context.ts'
import { invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { pickNode } from './pick-host.ts'

const HINT = 'Put the disk into the import folder of the host and name it by file:///…, '
  + 'or use hearth image import, which takes any file or URL.'

/**
 * The file that a disk container names. Here it is only told what is meant: whether it may be read, and
 * whether it is there, is for the agent to find out.
 *
 * @throws ApiError UnsupportedOperation for buckets and other hosts' files, InvalidParameterValue, MissingParameter.
 */
export function importDisk(container: SnapshotDiskContainer | ImageDiskContainer, parameter: string): ImportDisk {
  if (container.UserBucket) {
    throw new ApiError('UnsupportedOperation', `There is no S3 here to take ${parameter}.UserBucket from. ${HINT}`)
  }
  if (!container.Url) throw missingParameter(`${parameter}.Url`)
  return {
    url: container.Url, file: fileOf(container.Url, `${parameter}.Url`), isOwned: false,
    format: formatOf(container.Format, `${parameter}.Format`), description: container.Description ?? null,
    deviceName: 'DeviceName' in container ? (container.DeviceName ?? null) : null, snapshotId: null,
  }
}

/** "file:///data/disk.vmdk", "file://localhost/…" or "/data/disk.vmdk". */
function fileOf(url: string, parameter: string): string {
  if (url.includes('\0')) throw invalidValue(parameter, url)
  if (url.startsWith('/')) return path.resolve(url)
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed && parsed.protocol !== 'file:') {
    throw new ApiError(
      'UnsupportedOperation', `${parameter} names a ${parsed.protocol}// address, which is not read here. ${HINT}`)
  }
  try {
    const isOwn = parsed && (parsed.host === '' || parsed.host === 'localhost')
    const file = isOwn ? fileURLToPath(new URL(`file://${parsed.pathname}`)) : ''
    if (file !== '' && !file.includes('\0')) return file
  } catch {
    // An escaped slash, or a byte that is none.
  }
  throw invalidValue(parameter, url, HINT)
}

function formatOf(name: string | undefined, parameter: string): DiskFormat | null {
  if (!name) return null
  if (name.toUpperCase() === 'OVA') {
    throw unsupportedParameter(`${parameter} with the value OVA (an archive: unpack it with tar -xf and import its VMDK)`)
  }
  const format = FORMAT_NAMES[name.toUpperCase()]
  if (format === undefined) throw invalidValue(parameter, name, `Valid values are: ${Object.keys(FORMAT_NAMES).join(', ')}.`)
  return format
}

/** The node that an import runs on: what is imported belongs to no zone. */
export async function importHost(context: Pick<Context, 'db' | 'region'>): Promise<string> {
  const nodeId = await pickNode(context)
  if (nodeId === undefined) throw new ApiError('InsufficientCapacity', 'There is no host yet that could import a disk.', 500)
  return nodeId
}
