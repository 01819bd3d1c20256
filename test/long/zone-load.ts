import { expect } from 'vitest'
import type { Cloned } from '../../src/cli/clone.ts'
import { systemClock } from '../../src/core/clock.ts'
import { pick, type Random } from '../../src/core/random.ts'
import type { ZoneHistory } from './zone-history.ts'

type End = 'running' | 'stopped' | 'terminated'

/** An instance that callers do something to, and what the last acknowledged call promised that it becomes. */
export interface Guest {
  id: string
  zone: string
  end: End
  /** It is not recovered, and so may be stopped where it was promised to run. */
  mayBeLost: boolean
  /** A caller is at it. */
  isBusy: boolean
}

/** A data volume, and the instance that it was last acknowledged to be attached to. */
interface Volume {
  id: string
  zone: string
  device: string
  at: Guest | undefined
  isBusy: boolean
}

export interface LoadBasics {
  imageId: string
  keyName: string
  rootDevice: string
  subnets: Map<string, string>
}

const MOST_GUESTS = 6
/** A caller pauses for as long at most between two calls. */
const PAUSE_MS = 3000

/** Callers that launch, stop, bake, attach and so on in all zones, and what they were promised. */
export class ZoneLoad {
  readonly guests: Guest[] = []
  readonly volumes: Volume[] = []
  /** Acknowledged ids. */
  readonly images: string[] = []
  readonly snapshots: string[] = []
  readonly #history: ZoneHistory
  readonly #basics: LoadBasics
  #number = 0
  clones = 0

  constructor(history: ZoneHistory, basics: LoadBasics) {
    this.#history = history
    this.#basics = basics
  }

  get #living(): Guest[] {
    return this.guests.filter(({ end }) => end !== 'terminated')
  }

  /** One caller, until it is over. Each has a source of randomness of its own. */
  async run(random: Random, over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      await this.#step(random)
      await systemClock.sleep(random.int(PAUSE_MS))
    }
  }

  #step(random: Random): Promise<void> {
    const drawn = random.next()
    if (drawn < 0.25) return this.#changeVolume(random)
    const idle = this.#living.filter((guest) => !guest.isBusy)
    const [guest] = idle.length === 0 ? [] : [pick(random, idle)]
    if (!guest || (drawn < 0.45 && this.#living.length < MOST_GUESTS)) return this.launch(random)
    return this.#changeGuest(random, guest)
  }

  /** Launches into a zone, or into none that is named. */
  async launch(random: Random, zone = pick(random, [...this.#basics.subnets.keys(), 'any'])): Promise<void> {
    const number = ++this.#number
    const { imageId, keyName, rootDevice, subnets } = this.#basics
    const canHibernate = random.next() < 0.4
    const isRecovered = random.next() < 0.8
    const words = [
      '--image-id', this.images.length > 0 && random.next() < 0.3 ? pick(random, this.images) : imageId, '--key-name', keyName,
      '--instance-type', 't3.nano', '--client-token', `launch-${number}`, ...(zone === 'any' ? [] : ['--subnet-id', subnets.get(zone) ?? '']),
      ...(canHibernate ? ['--hibernation-options', 'Configured=true', '--block-device-mappings', `DeviceName=${rootDevice},Ebs={Encrypted=true}`] : []),
      ...(isRecovered ? [] : ['--maintenance-options', 'AutoRecovery=disabled']),
    ]
    const launched = await this.#history.call(
      zone, { refusedInFailed: true }, 'Instances[0].[InstanceId,Placement.AvailabilityZone]', 'run-instances', ...words)
    if (launched === 'refused') return
    const [id = '', into = ''] = launched.text.split('\t')
    this.guests.push({ id, zone: into, end: 'running', mayBeLost: !isRecovered, isBusy: false })
  }

  async #changeGuest(random: Random, guest: Guest): Promise<void> {
    guest.isBusy = true
    try {
      const state = await this.#history.ask('Reservations[].Instances[].State.Name', 'describe-instances', '--instance-ids', guest.id)
      const actions = {
        running: ['stop', 'stop', 'hibernate', 'hibernate', 'reboot', 'bake', 'clone', 'terminate'], stopped: ['start', 'start', 'start', 'bake', 'terminate'],
      }[state] ?? []
      if (actions.length > 0) await this.#act(random, guest, pick(random, actions))
    } finally {
      guest.isBusy = false
    }
  }

  async #act(random: Random, guest: Guest, action: string): Promise<void> {
    const { id, zone } = guest
    const change = async (end: End, query: string, refusedInFailed: boolean, ...words: string[]) => {
      const answer = await this.#history.call(zone, { refusedInFailed }, query, ...words, '--instance-ids', id)
      if (answer !== 'refused') guest.end = end
      return answer
    }
    switch (action) {
      case 'stop':
        return void await change('stopped', 'StoppingInstances[0].CurrentState.Name', false, 'stop-instances')
      case 'hibernate':
        // Not every one was launched so that it can be, and that is said first.
        return void await this.#hibernate(guest)
      case 'start':
        return void await change('running', 'StartingInstances[0].CurrentState.Name', true, 'start-instances')
      case 'terminate':
        if (await change('terminated', 'TerminatingInstances[0].CurrentState.Name', false, 'terminate-instances') !== 'refused') this.#freeVolumesOf(guest)
        return
      case 'reboot':
        return void await change(guest.end, 'Return', false, 'reboot-instances')
      case 'bake':
        return this.#bake(guest)
      default:
        return this.#clone(random, guest)
    }
  }

  async #hibernate(guest: Guest): Promise<void> {
    const options = await this.#history.ask('Reservations[0].Instances[0].HibernationOptions.Configured', 'describe-instances', '--instance-ids', guest.id)
    if (options !== 'True') return
    const answer = await this.#history.call(
      guest.zone, { refusedInFailed: false }, 'StoppingInstances[0].CurrentState.Name', 'stop-instances', '--hibernate', '--instance-ids', guest.id)
    if (answer !== 'refused') guest.end = 'stopped'
  }

  #freeVolumesOf(guest: Guest): void {
    for (const volume of this.volumes) if (volume.at === guest) volume.at = undefined
  }

  /** An image of a guest that runs on; one with a name of its own, by which a repeated call finds that it came about. */
  async #bake({ id, zone }: Guest): Promise<void> {
    const name = `image-${++this.#number}`
    const answer = await this.#history.call(
      zone, { done: /InvalidAMIName\.Duplicate/, refusedInFailed: true }, 'ImageId', 'create-image', '--no-reboot', '--instance-id', id, '--name', name)
    if (answer !== 'refused') this.images.push(await this.#history.ask('Images[0].ImageId', 'describe-images', '--filters', `Name=name,Values=${name}`))
  }

  /** Copies into all zones; those that are told of, and those that are there though the command said nothing of them, are guests. */
  async #clone(random: Random, { id }: Guest): Promise<void> {
    if (this.#living.length > MOST_GUESTS - 2 || this.clones >= 2) return
    this.clones += 1
    const name = `clone-${++this.#number}`
    const zones = [...this.#basics.subnets.keys()].filter(() => random.next() < 0.6)
    if (zones.length === 0) return
    const { code, stdout, stderr } = await this.#history.cloud.hearth('clone', id, '--zone', zones.join(','), '--name', name, '--json')
    this.#history.diary.note(`hearth clone ${id} --zone ${zones.join(',')}: ${code} ${stderr.trim().replaceAll('\n', ' / ')}`)
    const { clones = [] } = (stdout.trim() === '' ? {} : JSON.parse(stdout)) as Partial<Cloned>
    if (code === 0) expect(clones.map((clone) => clone.zone)).toEqual(zones)
    const found = await this.#history.ask(
      'Reservations[].Instances[].[InstanceId,Placement.AvailabilityZone,MaintenanceOptions.AutoRecovery]', 'describe-instances',
      '--filters', `Name=tag:Name,Values=${name}-*`)
    for (const [cloneId = '', zone = '', recovery] of found.split('\n').filter((line) => line !== '').map((line) => line.split('\t'))) {
      this.guests.push({ id: cloneId, zone, end: 'running', mayBeLost: recovery === 'disabled', isBusy: false })
    }
  }

  /** Attaches a volume that is free, or detaches or snapshots one that is attached; leaves one alone that is on its way. */
  async #changeVolume(random: Random): Promise<void> {
    const idle = this.volumes.filter(({ isBusy }) => !isBusy)
    if (idle.length === 0) return
    const volume = pick(random, idle)
    volume.isBusy = true
    try {
      const drawn = random.next()
      const [state, attachment] = (await this.#history.ask('Volumes[0].[State,Attachments[0].State]', 'describe-volumes', '--volume-ids', volume.id)).split('\t')
      if (drawn < 0.3) await this.#snapshot(volume)
      else if (state === 'available') await this.#attach(random, volume)
      else if (attachment === 'attached') await this.#detach(volume)
    } finally {
      volume.isBusy = false
    }
  }

  async #snapshot({ id, zone }: Volume): Promise<void> {
    const answer = await this.#history.call(zone, { refusedInFailed: true }, 'SnapshotId', 'create-snapshot', '--volume-id', id)
    if (answer !== 'refused') this.snapshots.push(answer.text)
  }

  async #attach(random: Random, volume: Volume): Promise<void> {
    const inZone = this.#living.filter(({ zone, isBusy }) => zone === volume.zone && !isBusy)
    if (inZone.length === 0) return
    const guest = pick(random, inZone)
    guest.isBusy = true
    try {
      const answer = await this.#history.call(
        volume.zone, { done: /\(VolumeInUse\)/, refusedInFailed: true }, 'State', 'attach-volume', '--volume-id', volume.id, '--instance-id', guest.id, '--device', volume.device)
      if (answer !== 'refused') volume.at = guest
    } finally {
      guest.isBusy = false
    }
  }

  async #detach(volume: Volume): Promise<void> {
    const answer = await this.#history.call(volume.zone, { done: /\(IncorrectState\)/, refusedInFailed: false }, 'State', 'detach-volume', '--volume-id', volume.id)
    if (answer !== 'refused') volume.at = undefined
  }

  /** Every instance is what was promised last; those that are to run, for later. */
  async arrives(): Promise<Guest[]> {
    const { cloud } = this.#history
    for (const guest of this.guests) {
      const allowed: string[] = guest.mayBeLost && guest.end === 'running' ? ['running', 'stopped'] : [guest.end]
      const state = await cloud.until(`${guest.id} to be ${guest.end}`, 180_000, async () => {
        const now = await cloud.ec2('Reservations[].Instances[].State.Name', 'describe-instances', '--instance-ids', guest.id)
        return allowed.includes(now) && now
      })
      guest.end = state as End
    }
    for (const { id, at } of this.volumes) {
      const expected = at === undefined ? 'available None None' : `in-use ${at.id} attached`
      await cloud.until(`${id} to be ${expected}`, 60_000, async () =>
        (await cloud.ec2('Volumes[0].[State,Attachments[0].InstanceId,Attachments[0].State]', 'describe-volumes', '--volume-ids', id)).replaceAll('\t', ' ') === expected)
    }
    for (const id of this.images) {
      await cloud.until(`${id} to be available`, 60_000, async () => (await cloud.ec2('Images[0].State', 'describe-images', '--image-ids', id)) === 'available')
    }
    for (const id of this.snapshots) {
      await cloud.until(`${id} to be completed`, 60_000, async () => (await cloud.ec2('Snapshots[0].State', 'describe-snapshots', '--snapshot-ids', id)) === 'completed')
    }
    return this.guests.filter(({ end }) => end === 'running')
  }
}
