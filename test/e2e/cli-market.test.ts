import {
  CreateFleetCommand, CreateLaunchTemplateCommand, DescribeInstancesCommand, DescribeSpotPriceHistoryCommand, EC2Client, RunInstancesCommand,
} from '@aws-sdk/client-ec2'
import { execFile, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BillReport } from '../../src/cli/bill.ts'
import type { MarketView } from '../../src/cli/market-view.ts'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import type { Envelope } from '../../src/events/envelope.ts'
import { startHearth } from '../support/hearth-process.ts'

// `hearth market` and `hearth bill` as a person uses them, over simulated machines. The tests tell one story, in order.

const hearth = path.join(packageRoot(), 'bin/hearth')
const TIMEOUT_MS = 60_000
const ZONE = 'us-east-1b'
/** Of t3.micro, whose price on demand is 0.0104: above what the market asks, and below what the test sets. */
const OFFER = '0.009'

let folder: string
let cloud: ChildProcess
let ec2: EC2Client

const environment = () => ({ ...process.env, HEARTH_HOME: path.join(folder, 'home'), HEARTH_SPOT_NOTICE: '', COLUMNS: '100' })

interface Ended {
  code: number
  output: string
  said: string
}

function run(...words: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(hearth, words, { timeout: TIMEOUT_MS, env: environment() }, (error, output, said) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, output, said: said.trim() })
    })
  })
}

const start = (...words: string[]) => startHearth(words, environment())

async function up(...words: string[]): Promise<ChildProcess> {
  const { child, output, said } = start('up', '--engine', 'sim', '--port', '0', '--serial-console-port', '0', '--no-first-instance', ...words)
  await waitFor(systemClock, 'the line that says ready', TIMEOUT_MS, () => output().includes('ready') || child.exitCode !== null)
  expect(child.exitCode, said()).toBeNull()
  const env = JSON.parse((await run('env', '--json')).output) as Record<string, string>
  ec2 = new EC2Client({
    endpoint: env.AWS_ENDPOINT_URL ?? '', region: 'us-east-1',
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID ?? '', secretAccessKey: env.AWS_SECRET_ACCESS_KEY ?? '' },
  })
  return child
}

async function down(): Promise<void> {
  ec2.destroy()
  if (cloud.exitCode !== null) return
  const ended = new Promise((resolve) => cloud.once('close', resolve))
  cloud.kill('SIGTERM')
  await ended
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-cli-market-'))
  cloud = await up('--notice', '2s')
})

afterAll(async () => {
  await down()
  rmSync(folder, { recursive: true, force: true })
})

const view = async (...words: string[]) => JSON.parse((await run('market', '--json', ...words)).output) as MarketView
const bill = async (...words: string[]) => JSON.parse((await run('bill', '--json', ...words)).output) as BillReport

async function stateOf(id: string): Promise<string | undefined> {
  return (await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))).Reservations?.[0]?.Instances?.[0]?.State?.Name
}

const becomes = (id: string, state: string) => waitFor(systemClock, `${id} to be ${state}`, TIMEOUT_MS, async () => (await stateOf(id)) === state)

/** On spot where there is an offer. */
async function launch(name: string, offer?: string): Promise<string> {
  const { images } = JSON.parse((await run('status', '--json')).output) as { images: { imageId: string }[] }
  const { Instances } = await ec2.send(new RunInstancesCommand({
    ImageId: images[0]?.imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: ZONE },
    TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: name }, { Key: 'team', Value: 'a' }] }],
    ...(offer === undefined ? {} : { InstanceMarketOptions: { MarketType: 'spot' as const, SpotOptions: { MaxPrice: offer } } }),
  }))
  const id = Instances?.[0]?.InstanceId ?? ''
  await becomes(id, 'running')
  return id
}

describe('hearth market', () => {
  let cheap: string
  let dear: string

  it('shows prices, a chart of them, supplies, and who is on spot for how much', async () => {
    await launch('web')
    cheap = await launch('job', OFFER)
    dear = await launch('batch', '0.0104')
    const { code, output, said } = await run('market', 't3.micro', '--since', '7d')
    expect([code, said]).toEqual([0, ''])
    expect(output).toMatch(/^us-east-1, smoothed prices, with a simulated market of others, notice of 2 s; /)
    expect(output).toMatch(/^TYPE +ZONE +PRICE\/H +OF ON DEMAND +TREND +LAST 7 D$/m)
    expect(output).toMatch(/^t3\.micro +us-east-1b +\$0\.00\d+ +\d+\.\d % of \$0\.0104/m)
    expect(output).toContain('t3.micro in us-east-1b\n')
    expect(output).toMatch(/^us-east-1b +available .* 95\.0 % /m)
    expect(output).toMatch(new RegExp(`^2  sir-[0-9a-z]+ +${cheap} +job +t3.micro +us-east-1b +\\$0\\.009000 +active +fulfilled$`, 'm'))
    const { prices, bids, bidCount, supplies } = await view('t3.micro', '--zone', 'b')
    expect(bids.map((each) => each.instanceId)).toEqual([dear, cheap])
    expect([bidCount, supplies.length]).toEqual([{ running: 2, waiting: 0 }, 1])
    const { SpotPriceHistory } = await ec2.send(new DescribeSpotPriceHistoryCommand({
      InstanceTypes: ['t3.micro'], AvailabilityZone: ZONE, StartTime: new Date(), ProductDescriptions: ['Linux/UNIX'],
    }))
    expect(Number(SpotPriceHistory?.[0]?.SpotPrice) * 1_000_000).toBeCloseTo(prices[0]?.priceMicroUsd ?? 0)
  })

  it('refuses what makes no sense, and changes nothing', async () => {
    const refused = async (...words: string[]) => {
      const { code, output, said } = await run('market', ...words)
      return [code, output, said]
    }
    const all = await Promise.all([
      refused('m9.none'), refused('--zone', 'q'), refused('--since', '91d'), refused('set-price', 't3.micro', 'b', '1'), refused('set-supply', 'b', '101'),
      refused('interrupt', 'web'), refused('interrupt', 'job', '--in', '2h'),
    ])
    expect(all).toEqual([
      'hearth: "m9.none" is no instance type that is had on spot; its price on demand is not known',
      'hearth: there is no zone "q" here; there are: us-east-1a, us-east-1b, us-east-1c',
      'hearth: prices are known for 90 days; --since can be from 1s to 90d, not 91d',
      'hearth: the price of t3.micro on spot can be from $0.000001 to $0.0104, its price on demand',
      'hearth: "101" is no part of a zone; write per cent from 0 to 100, or auto',
      expect.stringMatching(/^hearth: i-[0-9a-f]+ \(web\) is not a spot instance; what is on demand is not interrupted$/),
      'hearth: --in must be from 0s to 1h, not 2h',
    ].map((said) => [1, '', said]))
    expect((await view('t3.micro')).prices.map((price) => price.isPinned)).toEqual([false, false, false])
  })

  it('stands still while it is frozen, whatever a price is set to', async () => {
    expect((await run('market', 'freeze')).said).toBe('the market of us-east-1 is frozen: prices hold, and nobody has to go because of them')
    expect((await run('market', 'set-price', 't3.micro', 'b', '0.01')).said)
      .toBe('t3.micro in us-east-1b costs $0.01 per hour from now on; no instance has to go')
    const [again, market, status] = await Promise.all([run('market', 'freeze'), run('market'), run('status')])
    expect(again.said).toBe('the market of us-east-1 is frozen already')
    expect(market.output).toMatch(/^frozen since .*hearth market unfreeze\)$/m)
    expect(status.output).toMatch(/^spot +2 instances, notice of 2 s, prices frozen since /m)
    await run('market', 'set-price', 't3.micro', 'b', 'auto')
    expect((await run('market', 'unfreeze')).said).toBe('the market of us-east-1 goes on from where it stood')
    expect((await view()).frozenSince).toBeNull()
  })

  it('takes an instance away when the price passes its offer, and follows that', async () => {
    const following = start('market', 't3.micro', '--zone', ZONE, '--follow', '--json')
    await waitFor(systemClock, 'the first look', TIMEOUT_MS, () => following.output().includes('\n'))
    expect((await run('market', 'set-price', 't3.micro', 'b', '0.01')).said)
      .toBe(`t3.micro in us-east-1b costs $0.01 per hour from now on; 1 instance will get notice: ${cheap}`)
    await becomes(cheap, 'terminated')
    await waitFor(systemClock, 'the follower to see it', TIMEOUT_MS, () => following.output().trimEnd().split('\n').at(-1)?.includes('"running":1') === true)
    following.child.kill('SIGINT')
    expect([await following.exit, following.said()]).toEqual([0, ''])
    const views = following.output().trim().split('\n').map((line) => JSON.parse(line) as MarketView)
    expect(views[0]?.prices[0]).toMatchObject({ type: 't3.micro', zone: ZONE, isPinned: false })
    expect(views.at(-1)?.prices[0]).toMatchObject({ priceMicroUsd: 10_000, isPinned: true })
    expect(views.some(({ bids }) => bids.some(({ instanceId, goesAt }) => instanceId === cheap && goesAt !== null))).toBe(true)
    expect((await run('market', 'set-price', 't3.micro', 'b', 'auto', '--json')).output).toContain('"noticed": []')
    expect(await stateOf(dear)).toBe('running')
  })

  it('interrupts the one that is named, with the notice that is asked for', async () => {
    const { output } = await run('market', 'interrupt', 'batch', '--in', '1s', '--json')
    expect(JSON.parse(output)).toMatchObject({ instanceId: dear, action: 'terminate', noticed: [dear], hasChanged: true })
    await becomes(dear, 'terminated')
    const events = (await run('events', '--json', '--pattern', '{"detail-type":["EC2 Spot Instance Interruption Warning"]}')).output
      .trim().split('\n').map((line) => JSON.parse(line) as Envelope)
    expect(events.map(({ detail }) => detail)).toEqual([cheap, dear].map((id) => ({ 'instance-id': id, 'instance-action': 'terminate' })))
  })
})

describe('hearth bill', () => {
  it('tells what ran on demand and on spot, and that what was taken away in its first hour is free', async () => {
    const [{ code, output }, byTeam, csv, none, report] = await Promise.all([
      run('bill'), bill('--by', 'tag:team'), run('bill', '--by', 'zone', '--csv'), run('bill', '--by', 'mood'), bill(),
    ])
    expect(code).toBe(0)
    expect(output).toMatch(/^INSTANCE +NAME +TYPE +ZONE +LIFECYCLE +HOURS +COST +ON DEMAND +SAVED$/m)
    expect(output).toMatch(/^i-[0-9a-f]{17} \* +web +t3\.micro +us-east-1b +on-demand +0\.02 +\$0\.000173 +\$0\.000173 +-$/m)
    expect(output).toMatch(/^2 runs on spot free: interrupted in the first hour$/m)
    const { lines, freeRuns, total, byLifecycle } = report
    expect(lines.map(({ instance, isRunning }) => [instance?.name, instance?.lifecycle, isRunning]).toSorted()).toEqual([
      ['batch', 'spot', false], ['job', 'spot', false], ['web', 'on-demand', true],
    ])
    expect([freeRuns, byLifecycle.spot.costMicroUsd, total.costMicroUsd]).toEqual([2, 0, byLifecycle['on-demand'].costMicroUsd])
    expect(byTeam.lines.map(({ key }) => key)).toEqual(['a'])
    expect(csv.output).toMatch(/^zone,hours,cost_usd,on_demand_usd,saved_usd\nus-east-1b,0\.\d+,0\.000173,/)
    expect(none).toMatchObject({ code: 1, output: '', said: expect.stringMatching(/^hearth: a bill cannot be made by "mood"/) })
  })
})

describe('hearth down', () => {
  it('stops everything, also what a fleet would replace and the market would launch', async () => {
    const { images } = JSON.parse((await run('status', '--json')).output) as { images: { imageId: string }[] }
    const ImageId = images[0]?.imageId
    await ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'web', LaunchTemplateData: { ImageId, InstanceType: 't3.micro' } }))
    await ec2.send(new CreateFleetCommand({
      Type: 'maintain', TargetCapacitySpecification: { TotalTargetCapacity: 2, OnDemandTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName: 'web', Version: '$Latest' } }],
    }))
    const running = async () => (await ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'instance-state-name', Values: ['running'] }] })))
      .Reservations?.flatMap((each) => each.Instances ?? []).length
    await waitFor(systemClock, 'the fleet', TIMEOUT_MS, async () => (await running()) === 3)
    const { code, said } = await run('down')
    expect(code, said).toBe(0)
    expect(said).toMatch(/^stopping 3 machines\n[^]*everything is down$/)
  })
})

describe('hearth up', () => {
  it('again makes the market what its settings say then', async () => {
    expect((await run('market', 'set-supply', 'c', '10%')).said)
      .toMatch(/^spot instances may have at most 10 % of it in us-east-1c; no instance has to go \(the market sees it with the next .*hearth up --home .*\)$/)
    cloud = await up('--spot-pricing', 'auction', '--spot-background', 'no')
    expect((await run('market')).output).toMatch(/^us-east-1, auction prices, without a market of others, notice of 2 min; /)
    expect((await view()).supplies.map(({ capPercent }) => capPercent)).toEqual([null, null, 10])
  })
})
