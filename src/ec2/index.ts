import { authorizeSecurityGroupEgress, authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { describeAccountAttributes } from './account-attributes.ts'
import { awaitConsoleOutput, getConsoleOutput } from './console-output.ts'
import { awaitConsoleScreenshot, getConsoleScreenshot } from './console-screenshot.ts'
import { describeInstanceCreditSpecifications, modifyInstanceCreditSpecification } from './credit-specifications.ts'
import { describeImages } from './images.ts'
import {
  associateDhcpOptions, createDhcpOptions, deleteDhcpOptions, describeDhcpOptions,
} from './dhcp-options.ts'
import { describeInstances, readInstances } from './describe-instances.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import { getInstanceMetadataDefaults, modifyInstanceMetadataDefaults } from './instance-metadata-defaults.ts'
import { describeInstanceTypeOfferings } from './instance-type-offerings.ts'
import { describeInstanceTypes } from './instance-types.ts'
import { describeInstanceAttribute } from './instance-attributes.ts'
import { modifyInstanceMetadataOptions } from './instance-metadata-options.ts'
import { describeInstanceStatus } from './instance-status.ts'
import { rebootInstances, startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'
import { createKeyPair, deleteKeyPair, describeKeyPairs, importKeyPair, prepareCreateKeyPair } from './key-pairs.ts'
import { describeNetworkInterfaces } from './network-interfaces.ts'
import {
  deleteNetworkInsightsAnalysis, describeNetworkInsightsAnalyses, startNetworkInsightsAnalysis,
} from './network-insights-analyses.ts'
import {
  createNetworkInsightsPath, deleteNetworkInsightsPath, describeNetworkInsightsPaths,
} from './network-insights-paths.ts'
import { modifyInstanceAttribute } from './modify-instance-attribute.ts'
import { monitorInstances, unmonitorInstances } from './monitoring.ts'
import {
  modifySecurityGroupRules, updateSecurityGroupRuleDescriptionsEgress, updateSecurityGroupRuleDescriptionsIngress,
} from './modify-security-group-rules.ts'
import { mutation, pagedQuery, query, type Operation } from './operation.ts'
import { revokeSecurityGroupEgress, revokeSecurityGroupIngress } from './revoke-security-group-rules.ts'
import { runInstances } from './run-instances.ts'
import { createSecurityGroup, deleteSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'
import { createTags, deleteTags, describeTags } from './tags.ts'
import { deleteVolume, describeVolumes } from './volumes.ts'
import { describeVpcAttribute, describeVpcs } from './vpcs.ts'
import { describeAvailabilityZones, describeRegions } from './zones.ts'

/** Every operation of EC2 that is there; what is not in this table answers UnsupportedOperation. */
export const operations: Record<string, Operation> = {
  AssociateDhcpOptions: mutation(associateDhcpOptions),
  AuthorizeSecurityGroupEgress: mutation(authorizeSecurityGroupEgress),
  AuthorizeSecurityGroupIngress: mutation(authorizeSecurityGroupIngress),
  CreateDhcpOptions: mutation(createDhcpOptions),
  // Making an RSA key takes long enough to stall every other caller; it is made beforehand.
  CreateKeyPair: mutation(createKeyPair, prepareCreateKeyPair),
  CreateNetworkInsightsPath: mutation(createNetworkInsightsPath),
  CreateSecurityGroup: mutation(createSecurityGroup),
  CreateTags: mutation(createTags),
  DeleteDhcpOptions: mutation(deleteDhcpOptions),
  DeleteKeyPair: mutation(deleteKeyPair),
  DeleteNetworkInsightsAnalysis: mutation(deleteNetworkInsightsAnalysis),
  DeleteNetworkInsightsPath: mutation(deleteNetworkInsightsPath),
  DeleteSecurityGroup: mutation(deleteSecurityGroup),
  DeleteTags: mutation(deleteTags),
  DeleteVolume: mutation(deleteVolume),
  DescribeAccountAttributes: query(describeAccountAttributes),
  DescribeAvailabilityZones: query(describeAvailabilityZones),
  DescribeDhcpOptions: query(describeDhcpOptions),
  DescribeImages: query(describeImages),
  DescribeInstanceAttribute: query(describeInstanceAttribute),
  DescribeInstanceCreditSpecifications: query(describeInstanceCreditSpecifications),
  DescribeInstances: pagedQuery(describeInstances, readInstances),
  DescribeInstanceStatus: query(describeInstanceStatus),
  DescribeInstanceTypeOfferings: query(describeInstanceTypeOfferings),
  DescribeInstanceTypes: query(describeInstanceTypes),
  DescribeKeyPairs: query(describeKeyPairs),
  DescribeNetworkInsightsAnalyses: query(describeNetworkInsightsAnalyses),
  DescribeNetworkInsightsPaths: query(describeNetworkInsightsPaths),
  DescribeNetworkInterfaces: query(describeNetworkInterfaces),
  DescribeRegions: query(describeRegions),
  DescribeSecurityGroupRules: query(describeSecurityGroupRules),
  DescribeSecurityGroups: query(describeSecurityGroups),
  DescribeSubnets: query(describeSubnets),
  DescribeTags: query(describeTags),
  DescribeVolumes: query(describeVolumes),
  DescribeVpcAttribute: query(describeVpcAttribute),
  DescribeVpcs: query(describeVpcs),
  GetConsoleOutput: mutation(getConsoleOutput, undefined, awaitConsoleOutput),
  GetConsoleScreenshot: mutation(getConsoleScreenshot, undefined, awaitConsoleScreenshot),
  GetInstanceMetadataDefaults: query(getInstanceMetadataDefaults),
  ImportKeyPair: mutation(importKeyPair),
  ModifyInstanceAttribute: mutation(modifyInstanceAttribute),
  ModifyInstanceCreditSpecification: mutation(modifyInstanceCreditSpecification),
  ModifyInstanceMetadataDefaults: mutation(modifyInstanceMetadataDefaults),
  ModifyInstanceMetadataOptions: mutation(modifyInstanceMetadataOptions),
  ModifySecurityGroupRules: mutation(modifySecurityGroupRules),
  MonitorInstances: mutation(monitorInstances),
  RebootInstances: mutation(rebootInstances),
  RevokeSecurityGroupEgress: mutation(revokeSecurityGroupEgress),
  RevokeSecurityGroupIngress: mutation(revokeSecurityGroupIngress),
  RunInstances: mutation(runInstances),
  StartInstances: mutation(startInstances),
  StartNetworkInsightsAnalysis: mutation(startNetworkInsightsAnalysis),
  StopInstances: mutation(stopInstances),
  TerminateInstances: mutation(terminateInstances),
  UnmonitorInstances: mutation(unmonitorInstances),
  UpdateSecurityGroupRuleDescriptionsEgress: mutation(updateSecurityGroupRuleDescriptionsEgress),
  UpdateSecurityGroupRuleDescriptionsIngress: mutation(updateSecurityGroupRuleDescriptionsIngress),
}
