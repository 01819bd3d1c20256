import { ApiError } from '../core/errors.ts'

// https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSerialConsoleSSHPublicKey.html

/** For a parameter that cannot be. */
export function invalidArgs(message: string): ApiError {
  return new ApiError('InvalidArgsException', message)
}

/** For an instance that the account does not have. */
export function instanceNotFound(): ApiError {
  return new ApiError('EC2InstanceNotFoundException', 'The specified instance was not found.')
}

/** For one that does not run. */
export function instanceStateInvalid(): ApiError {
  return new ApiError(
    'EC2InstanceStateInvalidException',
    'Unable to connect because the instance is not in a valid state. Connecting to a stopped or terminated instance is not '
    + 'supported. If the instance is stopped, start your instance, and try to connect again.',
  )
}

/** For one that cannot take the key now. */
export function instanceUnavailable(why: string): ApiError {
  return new ApiError('EC2InstanceUnavailableException', `The instance is currently unavailable. ${why}`)
}

/** For an account that has not opened its serial consoles. */
export function serialConsoleAccessDisabled(): ApiError {
  return new ApiError(
    'SerialConsoleAccessDisabledException',
    'Your account is not authorized to use the EC2 Serial Console. To authorize your account, run the EnableSerialConsoleAccess API.',
  )
}

/** For a console at which somebody sits. */
export function serialSessionLimitExceeded(): ApiError {
  return new ApiError(
    'SerialConsoleSessionLimitExceededException',
    'The instance currently has 1 active serial console session. Only 1 session is supported at a time.',
  )
}

/** For a console that the agent has not answered for. */
export function serialSessionUnavailable(): ApiError {
  return new ApiError('SerialConsoleSessionUnavailableException', 'Unable to start a serial console session. Please try again.', 500)
}

/** For more keys than one instance takes. */
export function throttled(): ApiError {
  return new ApiError(
    'ThrottlingException', 'The requests were made too frequently and have been throttled. Wait a while and try again.')
}
