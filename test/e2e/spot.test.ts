import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Of t3.nano, whose price on demand is 0.0052: above what the market asks, and below what the test sets. */
const OFFER = '0.005'
const TOO_MUCH = '0.0051'

/**
 * A job as people run it on spot, until it is told that it has done enough: it counts in memory, one unit of work every fifth of a
 * second, writes a checkpoint after each ten, and another process of it looks every second whether there is a notice, keeping what
 * it says.
 */
const JOB = `
n=0
while [ ! -e /root/enough ]; do
  n=$((n + 1)); echo $n >/tmp/done
  [ $((n % 10)) = 0 ] && echo $n >/root/checkpoint
  read -t 0.2 -u 3
done
echo $n >/root/finished`

const WATCH = `
while :; do
  if wget -q -O /tmp/action http://169.254.169.254/latest/meta-data/spot/instance-action; then cp /tmp/action /root/notice; fi
  if wget -q -O /tmp/advice http://169.254.169.254/latest/meta-data/events/recommendations/rebalance; then cp /tmp/advice /root/advice; fi
  read -t 1 -u 3
done`

interface Envelope {
  'detail-type': string
  resources: string[]
  detail: Record<string, string>
}

describe.skipIf(whyNotReal !== undefined)(`spot instances on real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('spot')
  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  let job: string
  let bootId: string
  /** Units of work that were done when it was last looked. */
  let unitsDone = 0

  const requestOf = (id: string) => ec2(
    'SpotInstanceRequests[0].[State,Status.Code]', 'describe-spot-instance-requests', '--filters', `Name=instance-id,Values=${id}`)
  const isRequest = (id: string, state: string, status: string) =>
    cloud.until(`the request of ${id} to be ${state}, ${status}`, 90_000, async () => (await requestOf(id)) === `${state}\t${status}`)
  const inJob = (command: string) => cloud.ssh(job, command)
  const market = async (...words: string[]) => expect(await cloud.hearth('market', ...words)).toMatchObject({ code: 0 })
  const eventsOf = async (id: string): Promise<Envelope[]> => {
    const { stdout } = await cloud.hearth('events', '--json', '--since', '1h')
    const all = stdout.trim().split('\n').map((line) => JSON.parse(line) as Envelope)
    return all.filter((event) => event.resources.some((arn) => arn.endsWith(`/${id}`)) || event.detail['instance-id'] === id)
  }

  beforeAll(async () => {
    await cloud.prepare()
    // Of three zones each has 4 vCPUs: one c5.xlarge fills it.
    await cloud.upForLaunches({ HEARTH_SPOT_NOTICE: '12s', HEARTH_OVERCOMMIT_VCPUS: '6', HEARTH_OVERCOMMIT_MEMORY: '3' })
    const root = await ec2('Images[0].RootDeviceName', 'describe-images', '--filters', 'Name=name,Values=*tiny*')
    job = await cloud.launch(
      '--instance-market-options',
      `MarketType=spot,SpotOptions={SpotInstanceType=persistent,InstanceInterruptionBehavior=hibernate,MaxPrice=${OFFER}}`,
      '--hibernation-options', 'Configured=true', '--block-device-mappings', `DeviceName=${root},Ebs={Encrypted=true}`)
    await cloud.isUp(job)
    await inJob(`cat >/root/job <<'END'
${JOB}
END
cat >/root/watch <<'END'
${WATCH}
END
      mount | grep -q ' /tmp type tmpfs' || mount -t tmpfs tmpfs /tmp
      mkfifo /tmp/never
      for each in job watch; do setsid bash -c "exec 3<>/tmp/never; . /root/$each" >/dev/null 2>&1 </dev/null & done`)
    await cloud.until('the job to have a checkpoint', 60_000, async () => Number(await inJob('cat /root/checkpoint 2>/dev/null || echo 0')) >= 10)
    bootId = await cloud.bootId(job)
  })
  afterAll(() => cloud.close())

  test('one is had at a price below on demand, and is told as one', async () => {
    expect(await ec2('Reservations[0].Instances[0].InstanceLifecycle', 'describe-instances', '--instance-ids', job)).toBe('spot')
    expect(await requestOf(job)).toBe('active\tfulfilled')
    expect(await inJob('wget -q -O - http://169.254.169.254/latest/meta-data/instance-life-cycle')).toBe('spot')
    const prices = (await ec2(
      'SpotPriceHistory[].SpotPrice', 'describe-spot-price-history', '--instance-types', 't3.nano', '--availability-zone', cloud.zone,
      '--product-descriptions', 'Linux/UNIX', '--start-time', '2026-01-01')).split(/\s+/).map(Number)
    expect(prices.length).toBeGreaterThan(1)
    expect(Math.max(...prices)).toBeLessThanOrEqual(0.0052)
    expect(prices[0]).toBeLessThan(Number(OFFER))
  })

  test('when its price passes the offer it sees a notice inside, and is hibernated when that is over', async () => {
    await market('set-price', 't3.nano', cloud.zone, TOO_MUCH)
    await isRequest(job, 'active', 'marked-for-stop')
    const notice = JSON.parse(await cloud.until('the notice inside', 20_000, async () => (await inJob('cat /root/notice 2>/dev/null || true')) || undefined)) as
      { action: string; time: string }
    expect(notice.action).toBe('hibernate')
    expect(notice.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(JSON.parse(await inJob('cat /root/advice'))).toHaveProperty('noticeTime')
    unitsDone = Number(await inJob('cat /tmp/done'))
    expect(unitsDone).toBeGreaterThanOrEqual(10)
    await isRequest(job, 'disabled', 'instance-stopped-by-price')
    await cloud.areInState('stopped', job)
    expect(cloud.machines(job)).toEqual([])
    expect(await ec2('Reservations[0].Instances[0].StateReason.Code', 'describe-instances', '--instance-ids', job)).toBe('Server.SpotInstanceShutdown')
    const { code, stderr } = await cloud.aws('ec2', 'start-instances', '--instance-ids', job)
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining('IncorrectSpotRequestState')])
  })

  test('when the price allows it comes back by itself, goes on where it was, and finishes', async () => {
    await market('set-price', 't3.nano', cloud.zone, 'auto')
    await isRequest(job, 'active', 'fulfilled')
    await cloud.isUp(job)
    expect(await cloud.bootId(job)).toBe(bootId)
    expect(await cloud.hearth('ssh', job, '--', 'wget -q -O - http://169.254.169.254/latest/meta-data/spot/instance-action')).not.toMatchObject({ code: 0 })
    await inJob('touch /root/enough')
    await cloud.until('the job to finish', 60_000, async () => Number(await inJob('cat /root/finished 2>/dev/null || echo 0')) > unitsDone)
  })

  test('what has happened was told as events, once each, in order', async () => {
    const told = (await eventsOf(job)).map((event) => [event['detail-type'], event.detail.state ?? event.detail['instance-action'] ?? ''])
    const ofKind = (kind: string) => told.filter(([type]) => type === kind)
    expect(ofKind('EC2 Spot Instance Interruption Warning')).toEqual([['EC2 Spot Instance Interruption Warning', 'hibernate']])
    expect(ofKind('EC2 Instance Rebalance Recommendation')).toHaveLength(1)
    expect(ofKind('EC2 Instance State-change Notification').map(([, state]) => state))
      .toEqual(['pending', 'running', 'stopping', 'stopped', 'pending', 'running'])
  })

  test('it costs less than it would on demand', async () => {
    const bill = JSON.parse((await cloud.hearth('bill', '--json')).stdout) as { lines: Record<string, unknown>[] }
    const line = bill.lines.find((each) => JSON.stringify(each).includes(job))
    expect(line).toBeDefined()
    const { costMicroUsd, onDemandMicroUsd } = line as { costMicroUsd: number; onDemandMicroUsd: number }
    expect(costMicroUsd).toBeGreaterThan(0)
    expect(costMicroUsd).toBeLessThan(onDemandMicroUsd)
  })

  test('an instance on demand takes the room of one on spot when its zone is full, which has its notice first', async () => {
    const zones = (await ec2('AvailabilityZones[].ZoneName', 'describe-availability-zones')).split(/\s+/)
    const zone = zones.find((each) => each !== cloud.zone) ?? ''
    const subnet = await ec2('Subnets[0].SubnetId', 'describe-subnets', '--filters', `Name=availability-zone,Values=${zone}`)
    const cheap = await cloud.launch('--subnet-id', subnet, '--instance-market-options', 'MarketType=spot')
    await cloud.isUp(cheap)
    const file = path.join(cloud.home, 'told.jsonl')
    const pattern = '{"detail-type":["EC2 Spot Instance Interruption Warning"]}'
    expect(await cloud.hearth('events', 'target', 'add', 'log', '--file', file, '--pattern', pattern)).toMatchObject({ code: 0 })
    const [first] = cloud.machines(cheap)
    const dear = await cloud.launch('--subnet-id', subnet, '--instance-type', 'c5.xlarge')
    expect(await ec2('Reservations[0].Instances[0].State.Name', 'describe-instances', '--instance-ids', dear)).toBe('pending')
    expect(await requestOf(cheap)).toBe('active\tmarked-for-termination')
    expect(await cloud.ssh(cheap, 'wget -q -O - http://169.254.169.254/latest/meta-data/spot/instance-action')).toContain('"terminate"')
    expect(cloud.machines(cheap)).toEqual([first])
    expect(cloud.machines(dear)).toEqual([])
    await isRequest(cheap, 'closed', 'instance-terminated-no-capacity')
    await cloud.areInState('terminated', cheap)
    await cloud.isUp(dear)
    const told = await cloud.until('the file of events', 20_000, () =>
      (existsSync(file) ? readFileSync(file, 'utf8').split('\n')[0] : undefined))
    expect(JSON.parse(told)).toMatchObject({ detail: { 'instance-id': cheap, 'instance-action': 'terminate' } })
  })
})
