const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

/**
 * Texts of all elements of that name, in order, anywhere in an answer of the API. Only for what
 * holds text alone: Hearth's own answers are regular enough for that, and nothing else is read.
 */
export function textsOf(xml: string, element: string): string[] {
  return [...xml.matchAll(new RegExp(`<${element}>([^<]*)</${element}>`, 'g'))].map((match) => decode(match[1] ?? ''))
}

/** Text of the first element of that name; undefined when there is none. */
export function textOf(xml: string, element: string): string | undefined {
  return textsOf(xml, element)[0]
}

function decode(text: string): string {
  return text.replaceAll(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex?: string, decimal?: string, name?: string) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    return ENTITIES[name ?? ''] ?? whole
  })
}
