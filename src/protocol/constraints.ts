import { ApiError } from '../core/errors.ts'
import { excerpt } from './query.ts'

/** What a text member must be; lengths in characters. `pattern` is written as AWS's model has it. */
export interface TextRule {
  min?: number
  max?: number
  pattern?: string
  /** The values that there are. */
  oneOf?: readonly string[]
}

/**
 * Checks members against the constraints of AWS's model in the words of its query and JSON services
 * (STS, IAM, SSM, Recycle Bin): all that fail are told in one message. EC2 has errors of its own.
 */
export class Constraints {
  readonly #failures: string[] = []

  /** Undefined passes; whether a member must be there is the codec's to say. `name` has a small first letter. */
  text(name: string, value: string | undefined, { min = 0, max = Infinity, pattern, oneOf }: TextRule): this {
    if (value === undefined) return this
    if (value.length < min) this.#fail(name, value, `Member must have length greater than or equal to ${min}`)
    if (value.length > max) this.#fail(name, value, `Member must have length less than or equal to ${max}`)
    if (pattern !== undefined && !new RegExp(`^(?:${pattern})$`, 'u').test(value)) {
      this.#fail(name, value, `Member must satisfy regular expression pattern: ${pattern}`)
    }
    if (oneOf !== undefined && !oneOf.includes(value)) {
      this.#fail(name, value, `Member must satisfy enum value set: [${oneOf.join(', ')}]`)
    }
    return this
  }

  /** A number, both ends included. */
  range(name: string, value: number | undefined, min: number, max: number): this {
    if (value === undefined) return this
    if (value < min) this.#fail(name, value, `Member must have value greater than or equal to ${min}`)
    if (value > max) this.#fail(name, value, `Member must have value less than or equal to ${max}`)
    return this
  }

  /** The number of items of a list. */
  count(name: string, items: readonly unknown[], min: number, max: number): this {
    const value = `[${items.join(', ')}]`
    if (items.length < min) this.#fail(name, value, `Member must have length greater than or equal to ${min}`)
    if (items.length > max) this.#fail(name, value, `Member must have length less than or equal to ${max}`)
    return this
  }

  /** @throws ApiError `code`, with the reason where one is given, when a constraint failed. */
  done(code: 'ValidationError' | 'ValidationException' | 'InvalidArgsException', reason?: string): void {
    const count = this.#failures.length
    if (count === 0) return
    const errors = count === 1 ? 'error' : 'errors'
    throw new ApiError(code, `${count} validation ${errors} detected: ${this.#failures.join('; ')}`, 400, reason)
  }

  #fail(name: string, value: string | number, constraint: string): void {
    this.#failures.push(`Value '${excerpt(String(value))}' at '${name}' failed to satisfy constraint: ${constraint}`)
  }
}
