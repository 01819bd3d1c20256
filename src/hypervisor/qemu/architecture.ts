import { existsSync } from 'node:fs'
import type { GuestArchitecture, MachinePlatform } from '../driver.ts'

/** Two files of a UEFI firmware: its code, and what a machine's own variables begin as. */
export interface UefiFirmware {
  code: string
  variables: string
}

interface ArchitectureFacts {
  /** QEMU's program for it, and the Debian package that has it. */
  program: string
  programPackage: string
  /** The machine whose newest version is pinned. */
  machine: 'q35' | 'virt'
  /** As Node names a host that runs it natively. */
  nativeOn: string
  emulatedCpu: string
  display: string
  /** Whether a boot without UEFI is possible. */
  hasBios: boolean
  /** Where distributions put the firmware; the first that is there counts. */
  uefi: readonly UefiFirmware[]
  uefiPackage: string
}

const FACTS: Record<GuestArchitecture, ArchitectureFacts> = {
  x86_64: {
    program: 'qemu-system-x86_64', programPackage: 'qemu-system-x86', machine: 'q35', nativeOn: 'x64', emulatedCpu: 'max',
    display: 'VGA', hasBios: true, uefiPackage: 'ovmf',
    uefi: [
      { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
      { code: '/usr/share/OVMF/OVMF_CODE.fd', variables: '/usr/share/OVMF/OVMF_VARS.fd' },
      { code: '/usr/share/edk2/ovmf/OVMF_CODE.fd', variables: '/usr/share/edk2/ovmf/OVMF_VARS.fd' },
    ],
  },
  arm64: {
    program: 'qemu-system-aarch64', programPackage: 'qemu-system-arm', machine: 'virt', nativeOn: 'arm64',
    // Signing of pointers as the architecture has it costs an emulator more than all else.
    emulatedCpu: 'max,pauth-impdef=on',
    display: 'virtio-gpu-pci', hasBios: false, uefiPackage: 'qemu-efi-aarch64',
    uefi: [
      { code: '/usr/share/AAVMF/AAVMF_CODE.fd', variables: '/usr/share/AAVMF/AAVMF_VARS.fd' },
      { code: '/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw', variables: '/usr/share/edk2/aarch64/vars-template-pflash.raw' },
    ],
  },
}

export function architectureFacts(architecture: GuestArchitecture): ArchitectureFacts {
  return FACTS[architecture]
}

/** The architecture of a pinned platform; those of earlier versions have none. */
export function architectureOf(platform: MachinePlatform): GuestArchitecture {
  return platform.architecture ?? 'x86_64'
}

/** The firmware files of a UEFI guest. @throws Error that says what to install. */
export function uefiFirmware(architecture: GuestArchitecture): UefiFirmware {
  const { uefi, uefiPackage } = FACTS[architecture]
  const found = uefi.find(({ code, variables }) => existsSync(code) && existsSync(variables))
  if (!found) throw new Error(`no UEFI firmware for ${architecture} is installed: apt install ${uefiPackage}`)
  return found
}

/** What guests can boot here: those whose program is in one of the folders of `path`, with the firmware that they need. */
export function bootableArchitectures(path = process.env.PATH ?? ''): GuestArchitecture[] {
  const isInstalled = (program: string) => path.split(':').some((folder) => existsSync(`${folder}/${program}`))
  return (Object.keys(FACTS) as GuestArchitecture[]).filter((architecture) => {
    const { program, hasBios, uefi } = FACTS[architecture]
    return isInstalled(program) && (hasBios || uefi.some(({ code, variables }) => existsSync(code) && existsSync(variables)))
  })
}
