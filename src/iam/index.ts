import { query, type Operation } from '../ec2/operation.ts'
import { listAccountAliases } from './account-aliases.ts'
import { getUser } from './get-user.ts'
import { getInstanceProfile, listInstanceProfiles } from './instance-profiles.ts'

/** The operations of IAM that are there, by the name that calls use: what clients call when they start. */
export const operations: Record<string, Operation> = {
  GetInstanceProfile: query(getInstanceProfile),
  GetUser: query(getUser),
  ListAccountAliases: query(listAccountAliases),
  ListInstanceProfiles: query(listInstanceProfiles),
}
