import { pickPublicAddress } from '../model/address.ts'
import { hasElasticIp } from '../model/elastic-ip.ts'
import { interfaceDoc } from '../model/interface.ts'
import type { Context } from './context.ts'

/**
 * Gives the primary interface of an instance an automatic public address where it is to have one and
 * has none: when the instance starts, and when it loses its Elastic IP. Not with several interfaces,
 * nor with an Elastic IP on a secondary address.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
 *
 * @throws ApiError InsufficientAddressCapacity.
 */
export async function giveAutomaticAddress({ db, random, publicPool }: Context, instanceId: string): Promise<void> {
  const [primary, ...others] = await db
    .selectFrom('interfaces').selectAll().where('instance_id', '=', instanceId).orderBy('device_index').execute()
  if (!primary || others.length > 0 || primary.public_ip !== null || !interfaceDoc(primary).assignPublicIp) return
  const secondary = await db
    .selectFrom('interface_addresses').select('private_ip')
    .where('interface_id', '=', primary.interface_id).where('public_ip', 'is not', null).executeTakeFirst()
  if (secondary || (await hasElasticIp(db, primary))) return
  await db
    .updateTable('interfaces').set({ public_ip: await pickPublicAddress(db, random, publicPool) })
    .where('interface_id', '=', primary.interface_id).execute()
}
