/**
 * Machines run as this uid plus their slot, which no system gives to anybody; their taps and disks
 * belong to the same uid.
 */
export const UID_BASE = 1_700_000_000
