import { instanceType, instanceTypeNames, memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import type { Size } from './placement.ts'

/** A type of a family with what it takes. */
export interface SizedType extends Size {
  name: string
}

/** The family of a type: m5 of m5.large. */
export function familyOf(typeName: string): string {
  return typeName.split('.')[0] ?? typeName
}

/** What a type takes of a host. */
export function sizeOfType(name: string): SizedType {
  return { name, vcpus: vcpusOf(name) ?? 1, memoryMib: memoryMibOf(name) ?? 1024 }
}

/** The types of a family that run on dedicated hosts, the smallest first; none for a family that there is not. */
export function typesOfFamily(family: string): SizedType[] {
  return instanceTypeNames()
    .filter((name) => familyOf(name) === family && instanceType(name)?.DedicatedHostsSupported === true)
    .map(sizeOfType)
    .toSorted((a, b) => a.memoryMib - b.memoryMib || a.vcpus - b.vcpus || (a.name < b.name ? -1 : 1))
}

/** Threads of a core, in a family. */
export function threadsPerCoreOf(family: string): number {
  const largest = typesOfFamily(family).at(-1)
  return (largest && instanceType(largest.name)?.VCpuInfo?.DefaultThreadsPerCore) ?? 1
}
