import type {
  DisableEbsEncryptionByDefaultRequest, DisableEbsEncryptionByDefaultResult, EnableEbsEncryptionByDefaultRequest,
  EnableEbsEncryptionByDefaultResult, GetEbsDefaultKmsKeyIdRequest, GetEbsDefaultKmsKeyIdResult,
  GetEbsEncryptionByDefaultRequest, GetEbsEncryptionByDefaultResult, ModifyEbsDefaultKmsKeyIdRequest,
  ModifyEbsDefaultKmsKeyIdResult, ResetEbsDefaultKmsKeyIdRequest, ResetEbsDefaultKmsKeyIdResult,
} from '@aws-sdk/client-ec2'
import {
  awsManagedKey, chosenDefaultKey, EBS_ALIAS, isEncryptedByDefault, kmsKeyArn, requireKmsKey, setDefaultKey,
  setEncryptedByDefault,
} from '../model/kms-key.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'

/** EnableEbsEncryptionByDefault: of what is made from now on; what is there stays as it is. */
export async function enableEbsEncryptionByDefault(
  { db, account }: Context,
  _input: EnableEbsEncryptionByDefaultRequest,
): Promise<EnableEbsEncryptionByDefaultResult> {
  await setEncryptedByDefault(db, account, true)
  return { EbsEncryptionByDefault: true }
}

/** DisableEbsEncryptionByDefault. */
export async function disableEbsEncryptionByDefault(
  { db, account }: Context,
  _input: DisableEbsEncryptionByDefaultRequest,
): Promise<DisableEbsEncryptionByDefaultResult> {
  await setEncryptedByDefault(db, account, false)
  return { EbsEncryptionByDefault: false }
}

/** GetEbsEncryptionByDefault. */
export async function getEbsEncryptionByDefault(
  { db, account }: Context,
  _input: GetEbsEncryptionByDefaultRequest,
): Promise<GetEbsEncryptionByDefaultResult> {
  return { EbsEncryptionByDefault: await isEncryptedByDefault(db, account), SseType: 'sse-kms' }
}

/** GetEbsDefaultKmsKeyId: an ARN, or `alias/aws/ebs` while the account has chosen none. */
export async function getEbsDefaultKmsKeyId(
  { db, account, region }: Context,
  _input: GetEbsDefaultKmsKeyIdRequest,
): Promise<GetEbsDefaultKmsKeyIdResult> {
  const chosen = await chosenDefaultKey(db, account)
  return { KmsKeyId: chosen === undefined ? EBS_ALIAS : kmsKeyArn(region, account, chosen) }
}

/**
 * ModifyEbsDefaultKmsKeyId: to a key that is named by its id, its ARN, an alias or an alias's ARN.
 *
 * @throws ApiError what requireKmsKey throws.
 */
export async function modifyEbsDefaultKmsKeyId(
  context: Context,
  input: ModifyEbsDefaultKmsKeyIdRequest,
): Promise<ModifyEbsDefaultKmsKeyIdResult> {
  if (!input.KmsKeyId) throw missingParameter('KmsKeyId')
  const keyId = await requireKmsKey(context, input.KmsKeyId)
  const isAwsManaged = keyId === (await awsManagedKey(context))
  await setDefaultKey(context.db, context.account, isAwsManaged ? null : keyId)
  return { KmsKeyId: kmsKeyArn(context.region, context.account, keyId) }
}

/** ResetEbsDefaultKmsKeyId: to the account's aws/ebs key. */
export async function resetEbsDefaultKmsKeyId(
  context: Context,
  _input: ResetEbsDefaultKmsKeyIdRequest,
): Promise<ResetEbsDefaultKmsKeyIdResult> {
  await setDefaultKey(context.db, context.account, null)
  return { KmsKeyId: kmsKeyArn(context.region, context.account, await awsManagedKey(context)) }
}
