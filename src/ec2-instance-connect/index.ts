import { mutation, type Operation } from '../ec2/operation.ts'
import { awaitSerialKey, sendSerialConsoleSSHPublicKey } from './send-serial-console-ssh-public-key.ts'
import { awaitSshKey, sendSSHPublicKey } from './send-ssh-public-key.ts'

/** The operations of EC2 Instance Connect, by the name that calls use. */
export const operations: Record<string, Operation> = {
  SendSerialConsoleSSHPublicKey: mutation(sendSerialConsoleSSHPublicKey, undefined, awaitSerialKey),
  SendSSHPublicKey: mutation(sendSSHPublicKey, undefined, awaitSshKey),
}
