import { Duplex } from 'node:stream'

/** A serial console as one sits at it: what is written into it is typed. */
export class SimSerial extends Duplex {
  readonly #type: (typed: string) => void

  constructor(type: (typed: string) => void) {
    super()
    this.#type = type
  }

  /** Shows what the guest writes. */
  show(text: string): void {
    if (!this.destroyed) this.push(text.replaceAll('\n', '\r\n'))
  }

  /** The machine is gone. */
  hangUp(): void {
    this.push(null)
    this.end()
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#type(chunk.toString('latin1'))
    done()
  }
}
