import { mutation, query, type Operation } from '../ec2/operation.ts'
import { assumeRole } from './assume-role.ts'
import { getCallerIdentity } from './get-caller-identity.ts'
import { getSessionToken } from './get-session-token.ts'

/** The operations of STS that are there, by the name that calls use. */
export const operations: Record<string, Operation> = {
  AssumeRole: mutation(assumeRole),
  GetCallerIdentity: query(getCallerIdentity),
  GetSessionToken: mutation(getSessionToken),
}
