import { authorizeSecurityGroupIngress } from './authorize-security-group-ingress.ts'
import { awaitConsoleOutput, getConsoleOutput } from './console-output.ts'
import { describeImages } from './images.ts'
import { describeInstances } from './describe-instances.ts'
import { describeInstanceTypes } from './instance-types.ts'
import { rebootInstances, startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'
import { createKeyPair, deleteKeyPair, describeKeyPairs, importKeyPair, prepareCreateKeyPair } from './key-pairs.ts'
import { describeNetworkInterfaces } from './network-interfaces.ts'
import { mutation, query, type Operation } from './operation.ts'
import { runInstances } from './run-instances.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'
import { createTags, describeTags } from './tags.ts'
import { describeVolumes } from './volumes.ts'
import { describeVpcs } from './vpcs.ts'
import { describeAvailabilityZones, describeRegions } from './zones.ts'

/** Every operation of EC2 that is there; what is not in this table answers UnsupportedOperation. */
export const operations: Record<string, Operation> = {
  AuthorizeSecurityGroupIngress: mutation(authorizeSecurityGroupIngress),
  // Making an RSA key takes long enough to stall every other caller; it is made beforehand.
  CreateKeyPair: mutation(createKeyPair, prepareCreateKeyPair),
  CreateSecurityGroup: mutation(createSecurityGroup),
  CreateTags: mutation(createTags),
  DeleteKeyPair: mutation(deleteKeyPair),
  DescribeAvailabilityZones: query(describeAvailabilityZones),
  DescribeImages: query(describeImages),
  DescribeInstances: query(describeInstances),
  DescribeInstanceTypes: query(describeInstanceTypes),
  DescribeKeyPairs: query(describeKeyPairs),
  DescribeNetworkInterfaces: query(describeNetworkInterfaces),
  DescribeRegions: query(describeRegions),
  DescribeSecurityGroups: query(describeSecurityGroups),
  DescribeSubnets: query(describeSubnets),
  DescribeTags: query(describeTags),
  DescribeVolumes: query(describeVolumes),
  DescribeVpcs: query(describeVpcs),
  GetConsoleOutput: mutation(getConsoleOutput, undefined, awaitConsoleOutput),
  ImportKeyPair: mutation(importKeyPair),
  RebootInstances: mutation(rebootInstances),
  RunInstances: mutation(runInstances),
  StartInstances: mutation(startInstances),
  StopInstances: mutation(stopInstances),
  TerminateInstances: mutation(terminateInstances),
}
