import type { Command } from 'commander'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { readDisks, type DiskReport, type DiskView, type DiskWork } from './disks.ts'
import { formatMib, formatTable, type Terminal } from './terminal.ts'

/** `hearth disk list`. */
export function addDisk(program: Command, terminal: Terminal): void {
  const disk = newCommand(program, 'disk', 'show what disks are made of', ['hearth disk list'])
  const list = newCommand(disk, 'list', 'list volumes, snapshots and images, their layers and what they take on disk', [
    'hearth disk list', 'hearth disk list --json | jq .work',
  ])
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const settings = settingsOf(list)
    const report = await withStore(settings, (store) => readDisks(store, settings.home))
    terminal.out(list.opts().json ? JSON.stringify(report, null, 2) : formatDisks(report))
  })
}

const WORK: Record<DiskWork['kind'], string> = {
  freeze: 'is about to go on in a new layer',
  fill: 'is being filled',
  flatten: 'is being copied into one layer',
  shorten: 'has its layers brought together',
}

const MIB = 2 ** 20

/** The disks as a person reads them. */
export function formatDisks(report: DiskReport): string {
  const { volumes, snapshots, images, work, recycleBin, layers } = report
  const parts = [
    volumes.length === 0 ? 'no volumes' : formatTable([
      ['VOLUME', 'STATE', ...DISK_HEAD, 'INSTANCE'],
      ...volumes.map((each) => [each.volumeId, each.state, ...diskCells(each), each.instanceId ?? '-']),
    ]),
    snapshots.length === 0 ? 'no snapshots' : formatTable([
      ['SNAPSHOT', 'STATE', ...DISK_HEAD, 'OF'],
      ...snapshots.map((each) => [each.snapshotId, each.state, ...diskCells(each), each.volumeId ?? '-']),
    ]),
    images.length === 0 ? 'no images' : formatTable([
      ['IMAGE', 'NAME', 'STATE', 'DEVICE', 'SIZE', 'SNAPSHOT'],
      ...images.flatMap((each) => each.disks.map((disk, index) => [
        ...(index === 0 ? [each.imageId, each.name, each.state] : ['', '', '']),
        disk.deviceName, `${disk.sizeGib} GiB`, disk.snapshotId ?? '-',
      ])),
    ]),
  ]
  if (work.length > 0) parts.push(work.map(workLine).join('\n'))
  if (recycleBin.items.length > 0) parts.push(recycleBinLines(recycleBin))
  parts.push([
    `${layers.length} layer${layers.length === 1 ? '' : 's'}, ${onDisk(report.bytes)} on disk`,
    ...layers.flatMap((each) => (each.error === null ? [] : [`failed  ${each.layerId}: ${each.error}`])),
  ].join('\n'))
  return parts.join('\n\n')
}

const DISK_HEAD = ['SIZE', 'ON DISK', 'LAYERS', 'ENCRYPTED']

function diskCells(disk: DiskView): string[] {
  return [
    `${disk.sizeGib} GiB`, disk.bytes === null ? '-' : onDisk(disk.bytes), String(disk.layers), disk.isEncrypted ? 'yes' : 'no',
  ]
}

function workLine({ kind, layerId, of, percent }: DiskWork): string {
  return `busy    ${of.length === 0 ? layerId : of.join(', ')} ${WORK[kind]}${percent === null ? '' : `: ${percent} %`}`
}

function recycleBinLines({ items, heldMib, budgetMib }: DiskReport['recycleBin']): string {
  const isTold = heldMib !== null && budgetMib !== null
  const held = isTold ? `; only the bin holds ${formatMib(heldMib)} of at most ${formatMib(budgetMib)}` : ''
  return [
    formatTable([
      ['RECYCLE BIN', 'SINCE', 'UNTIL'],
      ...items.map((each) => [each.id, minute(each.binned), minute(each.until)]),
    ]),
    `${items.length} in the recycle bin${held}`,
  ].join('\n')
}

/** 2026-01-01 12:34 */
function minute(iso: string): string {
  return iso.slice(0, 16).replace('T', ' ')
}

function onDisk(bytes: number): string {
  return formatMib(Math.ceil(bytes / MIB))
}
