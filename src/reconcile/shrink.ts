/** The most that one guest gets of this host, whatever its type promises. */
export interface HostLimits {
  vcpus: number
  memoryMib: number
}

/** What a guest really gets: its type's promise where the host can give it, else what the host can. */
export function shrinkToHost(promised: HostLimits, limits: HostLimits): HostLimits {
  return {
    vcpus: Math.max(1, Math.min(promised.vcpus, limits.vcpus)),
    memoryMib: Math.min(promised.memoryMib, limits.memoryMib),
  }
}
