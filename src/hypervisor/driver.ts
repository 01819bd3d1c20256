import type { Duplex } from 'node:stream'
import { messageOf } from '../core/errors.ts'
import type { LayerRef } from '../volumes/driver.ts'

/** As many disks as a machine can have, the root included. */
export const MAX_DISKS = 16

/** As many interfaces as a machine can have places for, the primary one included; no instance type has more. */
export const MAX_NICS = 15

/** What a machine is made of; everything QEMU would need, nothing of EC2. */
export interface MachineSpec {
  instanceId: string
  /** SMBIOS and QEMU uuid; starts with "ec2", as cloud-init expects. */
  uuid: string
  /** Small number unique on this host; the machine's unprivileged uid derives from it. */
  slot: number
  vcpus: number
  memoryMib: number
  /** Versioned machine type, CPU model and accelerator, pinned when the instance first started. */
  platform: MachinePlatform
  /** In boot order; the first is the root volume, a part of the machine. Others come and go while it runs. */
  disks: DiskSpec[]
  nics: NicSpec[]
  /** How many interfaces there is to be room for, those that come later included. */
  maxNics: number
  /** Path of the network namespace the taps live in; null for none (simulator). */
  netnsPath: string | null
}

/** A volume as a device of a machine. */
export interface DiskSpec {
  volumeId: string
  deviceName: string
  /** What it is made of, from the top: the first is written into, the others only read. */
  layers: LayerRef[]
  /** As the guest sees it. */
  sizeGib: number
  /** What the guest may do with it each second; null without limits. */
  limits: DiskLimits | null
}

/** Limits of a disk. Null where there is none. */
export interface DiskLimits {
  iops: number | null
  /** Above `iops`, for as many seconds at a stretch, after a time of rest. */
  burst: { iops: number; seconds: number } | null
  bytesPerSecond: number | null
}

/** A disk that goes on in another layer, over the one that it has written into. */
export interface DiskSwitch {
  volumeId: string
  /** Over the layer that is at the top now; its file is there. */
  to: LayerRef
}

/** An interface as a device of a machine. */
export interface NicSpec {
  interfaceId: string
  /** Names the device: the same interface, detached and attached again, is another device. */
  attachmentId: string
  /** Its place. The one at 0 is a part of the machine; others come and go while it runs. */
  deviceIndex: number
  mac: string
  tap: string
}

/** What guests are made for; i386 ones run on x86_64. */
export type GuestArchitecture = 'x86_64' | 'arm64'

/** What of the virtual hardware must not change during an instance's life. */
export interface MachinePlatform {
  machineType: string
  cpuModel: string
  accelerator: 'kvm' | 'tcg' | 'sim'
  /** Absent for an x86_64 guest that the BIOS boots. */
  architecture?: GuestArchitecture
  firmware?: 'uefi'
}

/** What can be seen of a machine, whoever started it and whenever. */
export type MachineObservation =
  /** No process; nothing of it is running. */
  | { status: 'absent' }
  /**
   * The guest runs (or is about to). `startedAtMs` is when its process began. With `outOfSpace` it
   * stands still: it wrote to a disk that has no room on this host. A process that does not answer, since it hangs
   * or was frozen, is seen as running whatever its guest was doing: only `health` tells it from others.
   */
  | { status: 'running'; pid: number; startedAtMs: number; outOfSpace?: true }
  /**
   * The guest stands still and does not go on by itself: its memory is being saved, or being loaded, or has been
   * loaded and it was not let go on yet.
   */
  | { status: 'paused'; pid: number }
  /** The guest powered itself off (ACPI or from inside); its process still waits to be reaped. */
  | { status: 'shutdown'; pid: number }

/**
 * `silent`: there is a process that does not answer, while it hangs or was frozen; `still`: it answers, and its guest does
 * not run (it is paused, has no space, or has powered itself off).
 */
export type MachineHealth = 'absent' | 'silent' | 'still' | 'running'

/** A guest's memory in a file of its machine's folder, encrypted and authenticated. */
export interface MemoryImage {
  /** Names the file; every hibernation has an id of its own. */
  memoryId: string
  /** 32 random bytes, base64; the driver writes it nowhere. */
  key: string
  /** What the memory goes with. It is authenticated: an image saved with another binding does not load. */
  binding: string
}

/** The guest's memory could not be saved or loaded, and trying again would not help. `message` says why, for people. */
export class MemoryImageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MemoryImageError'
  }
}

/** Who is at a machine's ends, beside QEMU's monitor. */
export interface MachineChannels {
  /** Something in the guest listens to what the host asks. */
  hasGuestAgent: boolean
  /** Somebody sits at its serial console, through this driver or not. */
  isSerialTaken: boolean
}

/** Public keys that let in as a user of the guest; lines of authorized_keys, which are told apart as a whole. */
export interface KeyChange {
  osUser: string
  add: readonly string[]
  remove: readonly string[]
}

/** The guest understood what it was asked and will not do it, now or later. `message` says why, in its words. */
export class GuestRefusedError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'GuestRefusedError'
  }
}

/** A disk could not be had; what became of the others is told all the same. */
export class DisksError extends Error {
  /** What `ensureDisks` would have answered. */
  readonly open: string[]

  constructor(cause: unknown, open: string[]) {
    super(messageOf(cause), { cause })
    this.name = 'DisksError'
    this.open = open
  }
}

/**
 * Runs machines on this host. Every method is idempotent, may be called again after a crash at any
 * point, and judges by what it observes, never by what it remembers.
 */
export interface Hypervisor {
  /**
   * What this host would pin on a new instance of such a guest, x86_64 by the BIOS unless told otherwise.
   *
   * @throws Error that says what to install where it cannot run one.
   */
  platform(guest?: { architecture: GuestArchitecture; firmware: 'bios' | 'uefi' }): Promise<MachinePlatform>
  /**
   * Starts the machine unless it runs already; a machine found in `shutdown` or `paused` is started afresh. Saved memory of
   * it is deleted, durably, before: the disks move on without it.
   */
  ensureRunning(spec: MachineSpec): Promise<void>
  /**
   * Hibernates: stops the guest, writes its memory to the file that `image` names, durably, and ends the machine's process.
   * `disks` are those that it has: QEMU closes encrypted ones when it has sent the memory, and cannot open them without their
   * keys when the guest is to go on after all.
   *
   * @returns `saved` when the whole file is there and no process any more, also when an earlier call did that; `absent`
   * when there is no process, or its guest has powered itself off, and no whole file either.
   * @throws MemoryImageError when it cannot be saved (no room, a device that cannot be saved), or `signal.reason` when that is
   * aborted before the file is whole: the guest goes on as before.
   */
  ensureSaved(instanceId: string, image: MemoryImage, disks: readonly DiskSpec[], signal?: AbortSignal): Promise<'saved' | 'absent'>
  /**
   * Starts the machine with what is in the file and leaves the guest standing still (`paused`), its disks untouched. One that
   * was loaded so already is left alone; one that an earlier call left half loaded is begun anew. The file stays. Disks and
   * interfaces of the spec that the machine had not yet when it was saved are left out, to be plugged in later.
   *
   * @returns `missing` when there is no such file.
   * @throws MemoryImageError when it is damaged, bound to something else, or this host cannot continue it (another
   * processor, a QEMU that lacks the machine type), or the spec lacks what the guest has: nothing was started, the file stays.
   */
  ensureLoaded(spec: MachineSpec, image: MemoryImage): Promise<'loaded' | 'missing'>
  /**
   * Lets the guest of a `paused` machine go on, after every memory image of it is deleted, durably: what was loaded once is
   * never loaded again. Then sets the guest's clock, where something in the guest listens. No effect on a machine that
   * runs or has no process, but that images are deleted.
   *
   * @throws Error when its process does not answer: the guest may stand still.
   */
  ensureReleased(instanceId: string): Promise<void>
  /** Deletes every memory image of the machine, durably. */
  ensureForgotten(instanceId: string): Promise<void>
  /** Presses the power button (ACPI). No effect on a machine that does not run. */
  requestShutdown(instanceId: string): Promise<void>
  /** Ends the machine's process, hard, and waits until it is gone. */
  ensureStopped(instanceId: string): Promise<void>
  observe(instanceId: string): Promise<MachineObservation>
  /**
   * Freezes the machine as it is: its guest stands still and its process answers nobody, as of a computer that hangs, until
   * it is thawed or ended; `ensureStopped` and `remove` end it all the same, everything else that has to ask it fails.
   * It stays so whatever becomes of this driver. No effect without a process, which may be started later.
   */
  ensureFrozen(instanceId: string): Promise<void>
  /**
   * Has a frozen machine go on where it was, and sets its guest's clock, where the guest runs and something in it listens.
   * No effect on one that is not frozen: a guest stands still as before that has been loaded and not released, is being
   * saved, or has no space.
   */
  ensureThawed(instanceId: string): Promise<void>
  /** How the machine does, asked of it now; takes two seconds at most, or a few where there is no connection to it yet. */
  health(instanceId: string): Promise<MachineHealth>
  /** Ids of every machine that has a process or a folder on this host. */
  list(): Promise<string[]>
  /** Stops the machine and deletes its folder, console log included. */
  remove(instanceId: string): Promise<void>
  /** The last `maxBytes` of what the guest wrote to its serial console, over all its boots. */
  consoleOutput(instanceId: string, maxBytes: number): Promise<Buffer>
  /** Who is at the ends of a running machine; undefined when it does not run. */
  channels(instanceId: string): Promise<MachineChannels | undefined>
  /**
   * Joins the machine's serial console: what the guest writes from now on is read, what is written is typed. There is
   * room for one. The stream ends with the machine's process; whoever opened it destroys it.
   *
   * @returns `busy` while somebody else sits there, `absent` when the machine does not run.
   */
  openSerial(instanceId: string): Promise<Duplex | 'busy' | 'absent'>
  /**
   * Has the guest's agent add keys and take away others; a key that is there already, or is not, is left so.
   *
   * @returns `unreachable`, with nothing done, when the machine does not run or nothing in its guest takes keys.
   * @throws GuestRefusedError when the guest will not (no such user); any other Error may be thrown before or after it has.
   */
  changeAuthorizedKeys(instanceId: string, change: KeyChange): Promise<'done' | 'unreachable' | 'unsupported'>
  /**
   * The machine's screen as it is now, a binary PPM ("P6", 8 bits for each colour).
   *
   * @throws Error when the machine has no process.
   */
  screenshot(instanceId: string): Promise<Buffer>
  /** Presses and lets go of a key that types nothing, so that a sleeping screen wakes up. Nothing happens without a machine. */
  pressKey(instanceId: string): Promise<void>
  /**
   * Sends the guest a non-maskable interrupt; what comes of it is the guest's.
   *
   * @throws Error when the machine has no process, or its architecture no such interrupt.
   */
  interrupt(instanceId: string): Promise<void>
  /** Lets a guest that is out of space go on; what it wrote is written again, or it stands still again. No effect on others. */
  resume(instanceId: string): Promise<void>
  /**
   * Makes the running machine have these interfaces and no others, but for the primary one, which
   * stays as it is: plugs in what is missing (the tap is there) and asks the guest to give up the
   * rest, which takes the time that the guest takes. Those of `cutOff` are without a link at once,
   * whatever the guest does.
   *
   * @returns the attachments that the machine has now, the primary one aside, those that it is giving
   * up included; a listener hears when that changes. None of a machine that does not run.
   */
  ensureNics(instanceId: string, nics: readonly NicSpec[], cutOff?: readonly string[]): Promise<string[]>
  /**
   * Makes the running machine have these disks and no others, but for the root, which stays: plugs in
   * what is missing, asks the guest to give up the rest, sets sizes and limits of those that are there.
   * Those of `cutOff` (volume ids) lose their files at once, whatever the guest does.
   *
   * @returns ids of the volumes whose files the machine has open now, the root's included; a listener
   * hears when that changes. None of a machine that does not run. One that is not among `disks` has its files open until the
   * machine has let go of them, which may be a moment after the guest has given the device up.
   * @throws DisksError for the first that cannot be had; it keeps none of the others.
   */
  ensureDisks(instanceId: string, disks: readonly DiskSpec[], cutOff?: readonly string[]): Promise<string[]>
  /**
   * Has disks of a running machine go on in other layers, all at one instant; those that do already are
   * left alone. With `quiesce` the guest's agent, where there is one that answers, freezes its file systems for
   * that instant; whatever happens, and however often this is called, they are not left frozen.
   *
   * @returns the volumes that write into those layers now, and whether file systems were frozen. None
   * of a machine that does not run: it can be started on the new layers just as well.
   * @throws Error also when the guest does not say that its file systems go on: it has to be asked again.
   */
  switchDisks(instanceId: string, switches: readonly DiskSwitch[], options: { quiesce: boolean }): Promise<{ switched: string[]; isQuiesced: boolean }>
  /**
   * Brings what is between the top layer of a running machine's disk and `baseId` (null: all of it) up
   * into the top layer, in the background, so that only these two are left. Begins it, or tells how
   * far it is; `absent` when the machine does not run or has no such disk.
   * @throws Error when there is no such layer under the top one, or with why it failed; the next call begins anew.
   */
  ensureShortened(instanceId: string, volumeId: string, baseId: string | null): Promise<{ state: 'running'; percent: number } | { state: 'done' | 'absent' }>
  /** Calls `listener` with an instance id when something about its machine may have changed. */
  onChange(listener: (instanceId: string) => void): void
  /** Lets go of sockets and watchers; machines go on running. */
  close(): Promise<void>
}
