import { ApiError } from '../core/errors.ts'
import { isWellFormedId, type IdPrefix } from '../core/ids.ts'

/**
 * Refuses parameters that Hearth understands but does not honour yet. Dropping them silently would
 * be a lie; absent and empty ones are fine.
 */
export function refuseParameters<T extends object>(input: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    const value: unknown = input[name]
    const isEmpty = value === undefined || value === '' || value === false || (Array.isArray(value) && value.length === 0)
    if (!isEmpty) throw unsupportedParameter(name)
  }
}

/** The error for a parameter, or a value of one, that Hearth does not honour yet. */
export function unsupportedParameter(what: string): ApiError {
  return new ApiError('UnsupportedOperation', `The parameter ${what} is not supported by Hearth yet; see docs/coverage.md.`)
}

/** EC2's error for a value that is not one of those allowed. */
export function invalidValue(name: string, value: unknown, hint = ''): ApiError {
  return new ApiError(
    'InvalidParameterValue',
    `Value (${String(value)}) for parameter ${name} is invalid.${hint === '' ? '' : ` ${hint}`}`,
  )
}

/** EC2's error for a parameter that must be there. */
export function missingParameter(name: string): ApiError {
  return new ApiError('MissingParameter', `The request must contain the parameter ${name}`)
}

/** Checks one of the enumerated values of facts; undefined passes. */
export function checkEnum<T extends string>(name: string, value: string | undefined, allowed: readonly T[]): T | undefined {
  if (value === undefined || value === '') return undefined
  const found = allowed.find((each) => each === value)
  if (found === undefined) throw invalidValue(name, value, `Valid values are: ${allowed.join(', ')}.`)
  return found
}

/**
 * Checks that an id has its kind's form.
 *
 * @throws ApiError `<code>` 'Invalid id: "…"', for example InvalidInstanceID.Malformed.
 */
export function checkId(prefix: IdPrefix, id: string, code: string): void {
  if (!isWellFormedId(prefix, id)) {
    const hint = id.startsWith(`${prefix}-`) ? '' : ` (expecting "${prefix}-...")`
    throw new ApiError(code, `Invalid id: "${id}"${hint}`)
  }
}
