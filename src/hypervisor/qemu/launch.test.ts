import { expect, test } from 'vitest'
import { launchCommand, type Launch } from './launch.ts'

const launch: Launch = {
  folder: '/h/instances/i-1', uid: 1_700_000_003, kvm: false, netnsPath: '/run/netns/vpc1', tun: false,
  cgroupFiles: ['/cg/cpu/cgroup.procs', '/cg/memory/cgroup.procs'], arguments: ['-m', '64M'],
}

test('a machine is locked, joined, entered and stripped of rights, in that order, before QEMU begins', () => {
  const text = launchCommand(launch).join(' ')
  const order = [
    'flock --no-fork --nonblock', 'cgroup.procs', 'nsenter --net=/run/netns/vpc1', 'setpriv',
    'qemu-system-x86_64 -m 64M',
  ]
  const places = order.map((each) => text.indexOf(each))
  expect(places).not.toContain(-1)
  expect(places).toEqual(places.toSorted((a, b) => a - b))
  expect(text).toContain('--reuid=1700000003 --regid=1700000003 --clear-groups --bounding-set=-all --inh-caps=-all')
  expect(text).toContain('--no-new-privs')
})

test('without root, QEMU stays who we are, and outside of namespaces', () => {
  const words = launchCommand({ ...launch, uid: null, netnsPath: null, cgroupFiles: [], tun: true })
  expect(words.join(' ')).not.toMatch(/reuid|nsenter|unshare/)
  expect(words).toContain('--no-new-privs')
})

test('only a probe ends with its parent', () => {
  expect(launchCommand(launch)).not.toContain('--pdeathsig=KILL')
  expect(launchCommand({ ...launch, diesWithParent: true })).toContain('--pdeathsig=KILL')
})
