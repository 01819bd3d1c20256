import { query, type Operation } from '../ec2/operation.ts'
import { getCallerIdentity } from './get-caller-identity.ts'

/** The operations of STS that are there, by the name that calls use. */
export const operations: Record<string, Operation> = { GetCallerIdentity: query(getCallerIdentity) }
