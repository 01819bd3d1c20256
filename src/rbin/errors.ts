import { ApiError } from '../core/errors.ts'

// https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_CreateRule.html#API_CreateRule_Errors

/** The reason of an error about a value. */
export const INVALID_VALUE = 'INVALID_PARAMETER_VALUE'

/** For a value that cannot be. */
export function invalidParameter(message: string): ApiError {
  return new ApiError('ValidationException', message, 400, INVALID_VALUE)
}

/** For a page token that nobody gave. */
export function invalidPageToken(): ApiError {
  return new ApiError('ValidationException', 'The specified page token is not valid.', 400, 'INVALID_PAGE_TOKEN')
}

/** For a rule that is not there. */
export function ruleNotFound(ruleId: string): ApiError {
  return new ApiError('ResourceNotFoundException', `Rule ${ruleId} was not found.`, 404, 'RULE_NOT_FOUND')
}

/** For a change that the rule's lock does not allow. */
export function wrongRuleState(message: string): ApiError {
  return new ApiError('ConflictException', message, 409, 'INVALID_RULE_STATE')
}

/** For more than an account may have. */
export function quotaExceeded(message: string): ApiError {
  return new ApiError('ServiceQuotaExceededException', message, 402, 'SERVICE_QUOTA_EXCEEDED')
}
