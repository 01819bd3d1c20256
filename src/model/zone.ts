/** Zones of a region by their letters, in order: us-east-1a, us-east-1b, us-east-1c. */
export function zonesOf({ region, zones }: { region: string; zones: readonly string[] }): string[] {
  return zones.map((letter) => region + letter)
}

/** Short forms that AWS uses of the words in a region's name. */
const DIRECTIONS: Record<string, string> = {
  north: 'n', south: 's', east: 'e', west: 'w', central: 'c',
  northeast: 'ne', northwest: 'nw', southeast: 'se', southwest: 'sw',
}

/** A zone's id: use1-az1 for us-east-1a. In AWS the letters are shuffled per account; here they are not. */
export function zoneIdOf(zone: string): string {
  const match = /^([a-z]{2})-(gov-)?([a-z]+)-(\d)([a-z])$/.exec(zone)
  if (!match) return `${zone}-az`
  const [, area = '', gov, direction = '', number = '', letter = 'a'] = match
  return `${area}${gov === undefined ? '' : 'g'}${DIRECTIONS[direction] ?? direction}${number}-az${letter.charCodeAt(0) - 96}`
}
