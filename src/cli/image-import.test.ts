import { expect, it } from 'vitest'
import { guessUser } from './image-import.ts'

it('whom SSH lets in is who is said, else whom the name of the file suggests', () => {
  expect(guessUser('ada', 'debian-12-genericcloud-amd64.qcow2')).toBe('ada')
  expect([
    'debian-12-genericcloud-amd64.qcow2', 'noble-server-cloudimg-amd64.img', 'ubuntu-24.04-minimal.img',
    'Fedora-Cloud-Base-Generic.x86_64-40-1.14.qcow2', 'generic_alpine-3.20.0-x86_64-bios-cloudinit-r0.qcow2',
    'Rocky-9-GenericCloud-Base.latest.x86_64.qcow2', 'CentOS-Stream-GenericCloud-9.qcow2', 'disk.img',
  ].map((name) => guessUser(undefined, name))).toEqual(['debian', 'ubuntu', 'ubuntu', 'fedora', 'alpine', 'rocky', 'cloud-user', null])
})
