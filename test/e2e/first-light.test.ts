import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

const TYPE = 't3.micro'

describe.skipIf(whyNotReal !== undefined)(`hearth up with real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('first')
  let imageId: string

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.up()
    await cloud.until('the ssh command to be printed', 120_000, () => cloud.stderr.includes('Open a shell there'))
    const images = await cloud.awsJson('ec2', 'describe-images', '--filters', 'Name=name,Values=*tiny*')
    imageId = (images as unknown as { Images: { ImageId: string }[] }).Images[0]?.ImageId ?? ''
  })
  afterAll(() => cloud.close())

  async function launch(...args: string[]): Promise<string> {
    const answer = await cloud.awsJson('ec2', 'run-instances', '--image-id', imageId, '--instance-type', TYPE, ...args)
    return (answer as unknown as { Instances: { InstanceId: string }[] }).Instances[0]?.InstanceId ?? ''
  }

  async function describeOne(id: string) {
    const answer = await cloud.awsJson('ec2', 'describe-instances', '--instance-ids', id)
    const [instance] = (answer as unknown as { Reservations: { Instances: Record<string, unknown>[] }[] }).Reservations.flatMap((each) => each.Instances)
    return instance ?? {}
  }

  test('prints one ready line, and an ssh command that opens a shell', async () => {
    expect(cloud.stdout).toBe('ready http://127.0.0.1:8773\n')
    const command = /^ {2}(ssh -i .+)$/m.exec(cloud.stderr)?.[1] ?? ''
    const [program = '', ...args] = command.split(' ')
    const quiet = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes']
    const result = await cloud.run(program, [...quiet, ...args, 'echo', 'in a guest'])
    expect(result).toMatchObject({ code: 0, stdout: 'in a guest\n' })
  })

  test('the AWS CLI runs, waits for, describes, stops, starts, reboots and terminates an instance', async () => {
    const script = path.join(cloud.home, 'user-data')
    writeFileSync(script, '#!/bin/sh\necho said-by-user-data\necho kept > /root/made-by-user-data\n')
    const keys = (await cloud.awsJson('ec2', 'describe-key-pairs')) as unknown as { KeyPairs: { KeyName: string }[] }
    const id = await launch('--key-name', keys.KeyPairs[0]?.KeyName ?? '', '--security-groups', 'hearth-ssh', '--user-data', `file://${script}`,
      '--block-device-mappings', 'DeviceName=/dev/xvda,Ebs={VolumeSize=2}')
    // A waiter that does not find it so looks again after 15 seconds.
    await cloud.areInState('running', id)
    await cloud.awsJson('ec2', 'wait', 'instance-running', '--instance-ids', id)
    await cloud.sshAnswers(id)
    await cloud.until('the output of user-data on the console', 30_000, async () =>
      (await cloud.aws('ec2', 'get-console-output', '--latest', '--instance-id', id)).stdout.includes('said-by-user-data'))
    expect(await cloud.ssh(id, 'cat /root/made-by-user-data')).toBe('kept')
    expect(await cloud.ssh(id, 'hostname')).toMatch(/^ip-172-31-/)
    expect(await cloud.ssh(id, 'nproc')).toBe('2')
    expect(Number(await cloud.ssh(id, "df -m / | awk 'NR==2{print $2}'"))).toBeGreaterThan(1500)

    const before = await describeOne(id)
    const bootId = await cloud.bootId(id)
    await cloud.awsJson('ec2', 'reboot-instances', '--instance-ids', id)
    await cloud.isRebooted(id, bootId)
    expect((await describeOne(id)).PublicIpAddress).toBe(before.PublicIpAddress)

    await cloud.awsJson('ec2', 'stop-instances', '--instance-ids', id)
    await cloud.areInState('stopped', id)
    await cloud.awsJson('ec2', 'start-instances', '--instance-ids', id)
    await cloud.isUp(id)
    const after = await describeOne(id)
    expect(after.PrivateIpAddress).toBe(before.PrivateIpAddress)
    expect(await cloud.ssh(id, 'cat /root/made-by-user-data')).toBe('kept')

    await cloud.awsJson('ec2', 'terminate-instances', '--instance-ids', id)
    await cloud.areInState('terminated', id)
    expect(cloud.machines()).toHaveLength(1)
  })

  test('fences: without a group that allows it nobody reaches port 22, and a spoofed address gets nowhere', async () => {
    const id = await launch()
    await cloud.areInState('running', id)
    await cloud.until('the guest to have booted', 60_000, async () =>
      (await cloud.aws('ec2', 'get-console-output', '--latest', '--instance-id', id)).stdout.includes('hearth: READY'))
    const { PublicIpAddress: address, PrivateIpAddress: inside } = await describeOne(id)
    const connect = (target: unknown) => `timeout 3 nc -w 2 ${String(target)} 22 </dev/null | head -c 4`
    expect((await cloud.run('bash', ['-c', `timeout 3 bash -c 'exec 3<>/dev/tcp/${String(address)}/22 && head -c 4 <&3' || true`])).stdout).toBe('')
    expect(await cloud.ssh('first', `${connect(inside)} || true`)).toBe('')
    // Members of the group reach each other, since the default group names itself; others do not.
    await cloud.awsJson('ec2', 'authorize-security-group-ingress', '--group-name', 'default', '--protocol', 'tcp', '--port', '22', '--cidr', '172.31.0.0/16')
    await cloud.until('the new rule to be in force', 20_000, async () =>
      (await cloud.ssh('first', `${connect(inside)} || true`)) === 'SSH-')
    await cloud.ssh('first', 'ip addr add 172.31.99.99/32 dev eth0')
    expect(await cloud.ssh('first', `timeout 3 nc -s 172.31.99.99 -w 2 ${String(inside)} 22 </dev/null | head -c 4 || true`)).toBe('')
    expect(await cloud.ssh('first', 'wget -q -O - http://169.254.169.254/latest/meta-data/local-ipv4')).not.toBe(inside)
    await cloud.awsJson('ec2', 'terminate-instances', '--instance-ids', id)
    await cloud.areInState('terminated', id)
  })

  test('Ctrl-C leaves machines running, and the next up adopts them', async () => {
    const [pid] = cloud.machines()
    const uptime = await cloud.uptime('first')
    expect(await cloud.endUp('SIGINT')).toBe(0)
    expect(cloud.machines()).toEqual([pid])
    await cloud.up('--no-first-instance')
    expect(cloud.machines()).toEqual([pid])
    expect(await cloud.uptime('first')).toBeGreaterThan(uptime)
    expect(await cloud.ssh('first', 'wget -q -O - http://169.254.169.254/latest/meta-data/instance-id')).toMatch(/^i-/)
  })

  test('down stops the machines and leaves nothing behind; up and start bring them back', async () => {
    await cloud.ssh('first', 'echo survives > /root/file; sync')
    const down = await cloud.hearth('down')
    expect(down.code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
    await cloud.up('--no-first-instance')
    const listed = await cloud.awsJson('ec2', 'describe-instances', '--filters', 'Name=tag:Name,Values=first')
    const id = (listed as unknown as { Reservations: { Instances: { InstanceId: string }[] }[] }).Reservations[0]?.Instances[0]?.InstanceId ?? ''
    await cloud.awsJson('ec2', 'start-instances', '--instance-ids', id)
    await cloud.areInState('running', id)
    await cloud.sshAnswers('first')
    expect(await cloud.ssh('first', 'cat /root/file')).toBe('survives')
  })
})
