import { describe, expect, it } from 'vitest'
import {
  distributionOf, installLine, isCompilerMissing, isListStale, isNodeRecent, missingPackages, readArguments, remedyFor,
} from '../../scripts/setup-plan.mjs'

const debian = distributionOf('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n')
const ubuntu = distributionOf('PRETTY_NAME="Ubuntu 24.04 LTS"\nID=ubuntu\nID_LIKE=debian\n')
const fedora = distributionOf('NAME="Fedora Linux"\nPRETTY_NAME="Fedora Linux 41"\nID=fedora\n')
const nothingIsThere = () => false
const lacking = (missing: string) => (file: string) => file !== missing
const names = (packages: { name: string }[]) => packages.map((each) => each.name)

describe('set-up', () => {
  it('takes Node from 20.19 on', () => {
    const versions = ['18.20.0', '20.18.3', '20.19.0', '20.20.2', '22.1.0', '100.0.0']
    expect(versions.filter(isNodeRecent)).toEqual(['20.19.0', '20.20.2', '22.1.0', '100.0.0'])
  })

  it('reads the engine from either form of the flag, the last word winning, over the environment', () => {
    expect(readArguments([], {}).engine).toBe('auto')
    expect(readArguments([], { HEARTH_ENGINE: 'sim' }).engine).toBe('sim')
    expect(readArguments(['--port', '0', '--engine', 'sim'], {}).engine).toBe('sim')
    expect(readArguments(['--engine=sim', '--engine=qemu'], { HEARTH_ENGINE: 'sim' }).engine).toBe('qemu')
    expect(readArguments(['--engine'], {}).engine).toBe('auto')
    expect(readArguments(['--test'], {})).toEqual({ isTest: true, engine: 'auto' })
  })

  it('needs no package for simulated machines, and what tests use only with --test', () => {
    expect(missingPackages({ engine: 'sim', isTest: false, distribution: debian }, nothingIsThere)).toEqual([])
    expect(names(missingPackages({ engine: 'sim', isTest: true, distribution: debian }, nothingIsThere)))
      .toEqual(['busybox-static', 'openssl', 'awscli', 'ovmf', 'postgresql'])
    expect(names(missingPackages({ engine: 'auto', isTest: false, distribution: debian }, nothingIsThere))).not.toContain('awscli')
  })

  it('asks for a package when any of its files is missing, and for zstd on Ubuntu alone', () => {
    const wanted = { engine: 'auto', isTest: false, distribution: debian }
    expect(missingPackages(wanted, () => true)).toEqual([])
    expect(names(missingPackages(wanted, lacking('setpriv')))).toEqual(['util-linux'])
    expect(names(missingPackages(wanted, lacking('zstd')))).toEqual([])
    expect(names(missingPackages({ ...wanted, distribution: ubuntu }, lacking('zstd')))).toEqual(['zstd'])
  })

  it('asks for what builds the Debian image, and on Ubuntu for the keys of Debian too', () => {
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
    const wanted = { engine: 'qemu', isTest: false, distribution: debian }
    const isThere = (file: string) => file !== 'mmdebstrap' && file !== keyring
    expect(names(missingPackages(wanted, isThere))).toEqual(['mmdebstrap'])
    expect(names(missingPackages({ ...wanted, distribution: ubuntu }, isThere))).toEqual(['mmdebstrap', 'debian-archive-keyring'])
  })

  it('says one line to copy on Debian and Ubuntu, and programs elsewhere, and always offers the simulator', () => {
    const packages = missingPackages({ engine: 'qemu', isTest: false, distribution: debian }, (file) => file !== 'nft')
    expect(installLine(packages)).toBe('sudo apt-get update && sudo apt-get install -y --no-install-recommends nftables')
    for (const distribution of [debian, ubuntu]) {
      expect(remedyFor({ packages, distribution, isStart: true }).join('\n')).toContain(installLine(packages))
    }
    const elsewhere = remedyFor({ packages, distribution: fedora, isStart: true }).join('\n')
    expect(elsewhere).toContain('Fedora Linux 41')
    expect(elsewhere).toContain('nft')
    expect(elsewhere).not.toContain('apt-get install')
    for (const distribution of [debian, fedora]) {
      expect(remedyFor({ packages, distribution, isStart: true }).at(-1)).toContain('npm start -- --engine sim')
    }
  })

  it('knows stale package lists and a missing compiler by what the tools say', () => {
    expect(isListStale('E: Unable to locate package qemu-system-x86')).toBe(true)
    expect(isListStale("E: Package 'nftables' has no installation candidate")).toBe(true)
    expect(isListStale('E: Failed to fetch http://host/a.deb  404  Not Found')).toBe(true)
    expect(isListStale('E: Could not get lock /var/lib/dpkg/lock-frontend')).toBe(false)
    expect(isCompilerMissing('npm error gyp ERR! stack Error: not found: make')).toBe(true)
    expect(isCompilerMissing('npm error code ENOTFOUND')).toBe(false)
  })
})
