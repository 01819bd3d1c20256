/** A picture: four bytes for each pixel (red, green, blue, 255), line by line from the top. */
export interface Picture {
  width: number
  height: number
  data: Buffer
}

/** No screen of a guest comes near this; more is no picture of one. */
const MAX_PIXELS = 64 * 1024 * 1024

/**
 * Reads a binary PPM ("P6", 8 bits for each colour), as QEMU writes screens.
 *
 * @throws Error for anything else, and for a file that ends too early.
 */
export function parsePpm(file: Buffer): Picture {
  const header = /^P6\s+(\d{1,6})\s+(\d{1,6})\s+255\s/.exec(file.subarray(0, 64).toString('latin1'))
  if (!header) throw new Error('not a binary PPM of 8 bits a colour')
  const [width, height] = [Number(header[1]), Number(header[2])]
  const start = header[0].length
  if (width * height === 0 || width * height > MAX_PIXELS) throw new Error(`a screen of ${width}x${height} pixels`)
  if (file.length - start < width * height * 3) throw new Error('a PPM that ends too early')
  const data = Buffer.alloc(width * height * 4, 255)
  // By hand: a call for each pixel would take many times as long.
  for (let to = 0, from = start; to < data.length; to += 4, from += 3) {
    data[to] = file[from] ?? 0
    data[to + 1] = file[from + 1] ?? 0
    data[to + 2] = file[from + 2] ?? 0
  }
  return { width, height, data }
}

/** A binary PPM of one colour. */
export function plainPpm(width: number, height: number, [red, green, blue]: [number, number, number]): Buffer {
  const pixels = Buffer.alloc(width * height * 3)
  for (let at = 0; at < pixels.length; at += 3) pixels.set([red, green, blue], at)
  return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), pixels])
}
