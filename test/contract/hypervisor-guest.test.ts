import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { guestDisks } from './hypervisor-guest-disks.ts'
import { guestFrozen } from './hypervisor-guest-frozen.ts'
import { guestMemory } from './hypervisor-guest-memory.ts'
import { whyNoQemu } from './hypervisor-hosts.ts'
import { bootGuestLab, INSTANCE, nic, SECONDARY, until, type GuestLab } from './hypervisor-lab.ts'

describe.skipIf(whyNoQemu() !== undefined)('a guest whose interfaces and disks come and go', () => {
  let lab: GuestLab
  beforeAll(async () => {
    lab = await bootGuestLab()
  }, 120_000)
  afterAll(() => lab?.close())

  test('finds one that is plugged in, takes its addresses, and answers by it what came in by it', async () => {
    lab.secondaries = [SECONDARY]
    await lab.driver.ensureNics(INSTANCE, [nic(0), nic(1)])
    await until('an answer at its address', () => lab.answers('10.0.0.11'))
    await until('an answer at its secondary address', () => lab.answers(SECONDARY))
    expect(await lab.ssh('10.0.0.10', 'cat /sys/class/net/eth1/address; ip route | grep default')).toBe(
      '0a:00:00:00:00:01\ndefault via 10.0.0.1 dev eth0 \n')
  }, 90_000)

  test('takes up and gives up secondary addresses when asked to look', async () => {
    lab.secondaries = []
    await lab.ssh('10.0.0.10', '/usr/lib/hearth/addresses eth1')
    expect(await lab.ssh('10.0.0.10', 'ip -o -4 addr show dev eth1; ip rule')).not.toContain(SECONDARY)
    lab.secondaries = [SECONDARY]
    await lab.ssh('10.0.0.10', '/usr/lib/hearth/addresses eth1')
    expect(await lab.answers(SECONDARY)).toBe(true)
  })

  test('gives one up, and nothing of it is left behind', async () => {
    const heard: string[] = []
    lab.driver.onChange((instanceId) => heard.push(instanceId))
    expect(await lab.driver.ensureNics(INSTANCE, [nic(0)])).toEqual([nic(1).attachmentId])
    await until('news of it', () => heard.length > 0)
    await until('the interface to go', async () => (await lab.driver.ensureNics(INSTANCE, [nic(0)])).length === 0)
    await until('the guest to have cleared up', async () => await lab.ssh('10.0.0.10', 'ls -d /run/net.* 2>/dev/null; ip rule') === RULES)
    expect(await lab.ssh('10.0.0.10', 'ls /sys/class/net; ps | grep -c "[u]dhcpc"')).toBe('eth0\nlo\n1\n')
  }, 60_000)

  guestDisks(() => lab)

  guestFrozen(() => lab)

  guestMemory(() => lab)

  test('takes it again, as another attachment, and has it after the next start', async () => {
    await lab.driver.ensureNics(INSTANCE, [nic(0), nic(1, 1)])
    await until('an answer at its address', () => lab.answers('10.0.0.11'))
    await lab.driver.ensureStopped(INSTANCE)
    await lab.driver.ensureRunning({ ...lab.spec, nics: [nic(0), nic(1, 1)] })
    await until('the guest to be up again', async () => (await lab.says('hearth: READY')) === 2)
    await until('an answer at its address', () => lab.answers('10.0.0.11'))
    await until('an answer at its secondary address', () => lab.answers(SECONDARY))
    expect(await lab.driver.ensureNics(INSTANCE, [nic(0), nic(1, 1)])).toEqual([nic(1, 1).attachmentId])
    expect(await lab.ssh('10.0.0.10', 'cat /sys/block/vd[bc]/serial')).toBe('vol0123456789abcdef2vol0123456789abcdef1')
  }, 120_000)
})

const RULES = ['0:\tfrom all lookup local', '32766:\tfrom all lookup main', '32767:\tfrom all lookup default'].join(' \n') + ' \n'
