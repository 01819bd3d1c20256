import { query, type Operation } from '../ec2/operation.ts'
import { getUser } from './get-user.ts'

/** The operations of IAM that are there, by the name that calls use: what clients call when they start. */
export const operations: Record<string, Operation> = { GetUser: query(getUser) }
