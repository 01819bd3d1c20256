export interface SetupPackage {
  name: string
  why: string
  files: string[]
  only?: string
}

export interface Distribution {
  ids: string[]
  name: string
  isDebian: boolean
}

export const LEAST_NODE: [number, number]
export const COMPILER_PACKAGES: SetupPackage[]
export function isNodeRecent(version: string): boolean
export function readArguments(
  words: string[],
  environment: Record<string, string | undefined>,
): { isTest: boolean; engine: string }
export function distributionOf(osRelease: string): Distribution
export function missingPackages(
  wanted: { engine: string; isTest: boolean; distribution: Distribution },
  isThere: (file: string) => boolean,
): SetupPackage[]
export function installLine(packages: SetupPackage[]): string
export function remedyFor(situation: { packages: SetupPackage[]; distribution: Distribution; isStart: boolean }): string[]
export function isListStale(output: string): boolean
export function isCompilerMissing(output: string): boolean
