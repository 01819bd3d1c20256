import { describeAccountAttributes } from './account-attributes.ts'
import { allocateAddress, describeAddresses, describeAddressesAttribute, releaseAddress } from './addresses.ts'
import { associateAddress, disassociateAddress } from './associate-address.ts'
import { attachNetworkInterface, detachNetworkInterface } from './attach-network-interface.ts'
import { attachVolume, detachVolume } from './attach-volume.ts'
import { authorizeSecurityGroupEgress, authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { describeVpcClassicLink, describeVpcClassicLinkDnsSupport } from './classic-link.ts'
import { awaitConsoleOutput, getConsoleOutput } from './console-output.ts'
import { awaitConsoleScreenshot, getConsoleScreenshot } from './console-screenshot.ts'
import { cancelSpotInstanceRequests } from './cancel-spot-instance-requests.ts'
import { copyImage, prepareCopyImage } from './copy-image.ts'
import { createFleet } from './create-fleet.ts'
import { createImage, finishCreateImage } from './create-image.ts'
import { cancelCapacityReservation, describeCapacityReservations, getCapacityReservationUsage } from './capacity-reservations.ts'
import { createCapacityReservation } from './capacity-reservations-create.ts'
import { modifyInstanceCapacityReservationAttributes } from './capacity-reservations-instance.ts'
import { modifyCapacityReservation } from './capacity-reservations-modify.ts'
import { createCapacityReservationBySplitting, moveCapacityReservationInstances } from './capacity-reservations-split.ts'
import { describeHosts, modifyHosts, releaseHosts } from './dedicated-hosts.ts'
import { allocateHosts } from './dedicated-hosts-allocate.ts'
import { copySnapshot, prepareCopySnapshot } from './copy-snapshot.ts'
import { createNatGateway } from './create-nat-gateway.ts'
import { createNetworkInterface, deleteNetworkInterface } from './create-network-interface.ts'
import {
  createSnapshot, createSnapshots, finishCreateSnapshot, finishCreateSnapshots,
} from './create-snapshot.ts'
import { createSubnet } from './create-subnet.ts'
import { createVolume } from './create-volume.ts'
import { createVpc } from './create-vpc.ts'
import { describeInstanceCreditSpecifications, modifyInstanceCreditSpecification } from './credit-specifications.ts'
import { createDefaultSubnet, createDefaultVpc } from './default-vpc.ts'
import { deleteSecurityGroup } from './delete-security-group.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { deleteSubnet } from './delete-subnet.ts'
import { deleteVpc } from './delete-vpc.ts'
import { deregisterImage } from './deregister-image.ts'
import { describeInstances, readInstances } from './describe-instances.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import { associateDhcpOptions, createDhcpOptions, deleteDhcpOptions, describeDhcpOptions } from './dhcp-options.ts'
import { awaitDiagnosticInterrupt, sendDiagnosticInterrupt } from './diagnostic-interrupt.ts'
import {
  disableEbsEncryptionByDefault, enableEbsEncryptionByDefault, getEbsDefaultKmsKeyId, getEbsEncryptionByDefault,
  modifyEbsDefaultKmsKeyId, resetEbsDefaultKmsKeyId,
} from './ebs-encryption.ts'
import { describeFleetHistory, describeFleetInstances } from './describe-fleet.ts'
import { deleteFleets, describeFleets } from './fleets.ts'
import { modifyFleet } from './modify-fleet.ts'
import { describeImageAttribute } from './image-attributes.ts'
import {
  disableImage, disableImageDeprecation, disableImageDeregistrationProtection, enableImage, enableImageDeprecation,
  enableImageDeregistrationProtection,
} from './image-lifecycle.ts'
import {
  disableImageBlockPublicAccess, enableImageBlockPublicAccess, getImageBlockPublicAccessState,
} from './image-public-access.ts'
import { describeImages } from './images.ts'
import { importImage } from './import-image.ts'
import { importSnapshot } from './import-snapshot.ts'
import { cancelImportTask, describeImportImageTasks, describeImportSnapshotTasks } from './import-tasks.ts'
import { describeInstanceAttribute } from './instance-attributes.ts'
import { modifyInstanceEventStartTime } from './instance-events.ts'
import { describeInstanceImageMetadata } from './instance-image-metadata.ts'
import { modifyInstanceCpuOptions, modifyInstanceMaintenanceOptions } from './instance-options.ts'
import { rebootInstances, startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'
import { getInstanceMetadataDefaults, modifyInstanceMetadataDefaults } from './instance-metadata-defaults.ts'
import { modifyInstancePlacement } from './modify-instance-placement.ts'
import { modifyInstanceMetadataOptions } from './instance-metadata-options.ts'
import { getInstanceTypesFromInstanceRequirements } from './instance-requirements.ts'
import { describeInstanceStatus } from './instance-status.ts'
import { describeInstanceTypeOfferings } from './instance-type-offerings.ts'
import { describeInstanceTypes } from './instance-types.ts'
import {
  attachInternetGateway, createInternetGateway, deleteInternetGateway, describeInternetGateways,
  detachInternetGateway,
} from './internet-gateways.ts'
import { createKeyPair, deleteKeyPair, describeKeyPairs, importKeyPair, prepareCreateKeyPair } from './key-pairs.ts'
import { createManagedPrefixList, deleteManagedPrefixList, describeManagedPrefixLists } from './managed-prefix-lists.ts'
import { cancelImageLaunchPermission, modifyImageAttribute, resetImageAttribute } from './modify-image-attribute.ts'
import { modifyInstanceAttribute, resetInstanceAttribute } from './modify-instance-attribute.ts'
import { modifyManagedPrefixList, restoreManagedPrefixListVersion } from './modify-managed-prefix-list.ts'
import { getLaunchTemplateData } from './launch-template-data.ts'
import {
  createLaunchTemplateVersion, deleteLaunchTemplateVersions, describeLaunchTemplateVersions, prepareCallerArn,
} from './launch-template-versions.ts'
import { createLaunchTemplate, deleteLaunchTemplate, describeLaunchTemplates, modifyLaunchTemplate } from './launch-templates.ts'
import {
  modifySecurityGroupRules, updateSecurityGroupRuleDescriptionsEgress, updateSecurityGroupRuleDescriptionsIngress,
} from './modify-security-group-rules.ts'
import { modifySubnetAttribute } from './modify-subnet-attribute.ts'
import { modifyVolume } from './modify-volume.ts'
import { monitorInstances, unmonitorInstances } from './monitoring.ts'
import { deleteNatGateway, describeNatGateways } from './nat-gateways.ts'
import { createNetworkAclEntry, deleteNetworkAclEntry, replaceNetworkAclEntry } from './network-acl-entries.ts'
import {
  createNetworkAcl, deleteNetworkAcl, describeNetworkAcls, replaceNetworkAclAssociation,
} from './network-acls.ts'
import {
  deleteNetworkInsightsAnalysis, describeNetworkInsightsAnalyses, startNetworkInsightsAnalysis,
} from './network-insights-analyses.ts'
import {
  createNetworkInsightsPath, deleteNetworkInsightsPath, describeNetworkInsightsPaths,
} from './network-insights-paths.ts'
import {
  describeNetworkInterfaceAttribute, modifyNetworkInterfaceAttribute, resetNetworkInterfaceAttribute,
} from './network-interface-attributes.ts'
import { describeNetworkInterfaces } from './network-interfaces.ts'
import { mutation, type Operation, pagedQuery, query } from './operation.ts'
import { getPasswordData } from './password-data.ts'
import { createPlacementGroup, deletePlacementGroup, describePlacementGroups } from './placement-groups.ts'
import {
  describePrefixLists, getManagedPrefixListAssociations, getManagedPrefixListEntries,
} from './prefix-list-contents.ts'
import { assignPrivateIpAddresses, unassignPrivateIpAddresses } from './private-ip-addresses.ts'
import { registerImage } from './register-image.ts'
import { listImagesInRecycleBin, listSnapshotsInRecycleBin, listVolumesInRecycleBin } from './recycle-bin.ts'
import { reportInstanceStatus } from './report-instance-status.ts'
import { requestSpotInstances } from './request-spot-instances.ts'
import {
  restoreImageFromRecycleBin, restoreSnapshotFromRecycleBin, restoreVolumeFromRecycleBin,
} from './restore-from-recycle-bin.ts'
import { revokeSecurityGroupEgress, revokeSecurityGroupIngress } from './revoke-security-group-rules.ts'
import {
  associateRouteTable, disassociateRouteTable, replaceRouteTableAssociation,
} from './route-table-associations.ts'
import { createRouteTable, deleteRouteTable, describeRouteTables } from './route-tables.ts'
import { createRoute, deleteRoute, replaceRoute } from './routes.ts'
import { runInstances } from './run-instances.ts'
import { describeSecurityGroupReferences, describeStaleSecurityGroups } from './security-group-references.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSnapshotAttribute, modifySnapshotAttribute, resetSnapshotAttribute } from './snapshot-attributes.ts'
import { describeLockedSnapshots, lockSnapshot, unlockSnapshot } from './snapshot-locks.ts'
import { disableSerialConsoleAccess, enableSerialConsoleAccess, getSerialConsoleAccessStatus } from './serial-console-access.ts'
import {
  disableSnapshotBlockPublicAccess, enableSnapshotBlockPublicAccess, getSnapshotBlockPublicAccessState,
} from './snapshot-public-access.ts'
import { describeSnapshots } from './snapshots.ts'
import { describeSpotInstanceRequests } from './describe-spot-instance-requests.ts'
import { getSpotPlacementScores, prepareSpotPlacementScores } from './spot-placement-scores.ts'
import { describeSpotPriceHistory, readSpotPriceHistory } from './spot-price-history.ts'
import { cancelSpotFleetRequests } from './spot-fleet-cancel.ts'
import { describeSpotFleetInstances, describeSpotFleetRequestHistory, describeSpotFleetRequests } from './spot-fleet-describe.ts'
import { modifySpotFleetRequest } from './spot-fleet-modify.ts'
import { requestSpotFleet } from './spot-fleet-request.ts'
import { describeSubnets } from './subnets.ts'
import { createTags, deleteTags, describeTags } from './tags.ts'
import { describeVolumeAttribute, modifyVolumeAttribute } from './volume-attributes.ts'
import { describeVolumeStatus, enableVolumeIO } from './volume-status.ts'
import { describeVolumesModifications } from './volumes-modifications.ts'
import { deleteVolume, describeVolumes } from './volumes.ts'
import { describeVpcAttribute, modifyVpcAttribute, modifyVpcTenancy } from './vpc-attributes.ts'
import { associateVpcCidrBlock, disassociateVpcCidrBlock } from './vpc-cidrs.ts'
import { modifyVpcPeeringConnectionOptions } from './vpc-peering-options.ts'
import {
  acceptVpcPeeringConnection, createVpcPeeringConnection, deleteVpcPeeringConnection, rejectVpcPeeringConnection,
} from './vpc-peering-requests.ts'
import { describeVpcPeeringConnections } from './vpc-peerings.ts'
import { describeVpcs } from './vpcs.ts'
import {
  describeEgressOnlyInternetGateways, describeIamInstanceProfileAssociations, describeVpcEndpoints, describeVpnGateways,
} from './without-any.ts'
import { describeAvailabilityZones, describeRegions } from './zones.ts'

/** Every operation of EC2 that is there; what is not in this table answers UnsupportedOperation. */
export const operations: Record<string, Operation> = {
  AcceptVpcPeeringConnection: mutation(acceptVpcPeeringConnection),
  AllocateAddress: mutation(allocateAddress),
  AllocateHosts: mutation(allocateHosts),
  AssignPrivateIpAddresses: mutation(assignPrivateIpAddresses),
  AssociateAddress: mutation(associateAddress),
  AssociateDhcpOptions: mutation(associateDhcpOptions),
  AssociateRouteTable: mutation(associateRouteTable),
  AssociateVpcCidrBlock: mutation(associateVpcCidrBlock),
  AttachInternetGateway: mutation(attachInternetGateway),
  AttachNetworkInterface: mutation(attachNetworkInterface),
  AttachVolume: mutation(attachVolume),
  AuthorizeSecurityGroupEgress: mutation(authorizeSecurityGroupEgress),
  AuthorizeSecurityGroupIngress: mutation(authorizeSecurityGroupIngress),
  CancelCapacityReservation: mutation(cancelCapacityReservation),
  CancelImageLaunchPermission: mutation(cancelImageLaunchPermission),
  CancelImportTask: mutation(cancelImportTask),
  CancelSpotInstanceRequests: mutation(cancelSpotInstanceRequests),
  CreateCapacityReservation: mutation(createCapacityReservation),
  CreateCapacityReservationBySplitting: mutation(createCapacityReservationBySplitting),
  CopyImage: mutation(copyImage, prepareCopyImage),
  CopySnapshot: mutation(copySnapshot, prepareCopySnapshot),
  CreateDefaultSubnet: mutation(createDefaultSubnet),
  CreateDefaultVpc: mutation(createDefaultVpc),
  CreateDhcpOptions: mutation(createDhcpOptions),
  CreateFleet: mutation(createFleet),
  RequestSpotFleet: mutation(requestSpotFleet),
  DescribeSpotFleetRequests: query(describeSpotFleetRequests),
  DescribeSpotFleetInstances: query(describeSpotFleetInstances),
  DescribeSpotFleetRequestHistory: query(describeSpotFleetRequestHistory),
  ModifySpotFleetRequest: mutation(modifySpotFleetRequest),
  CancelSpotFleetRequests: mutation(cancelSpotFleetRequests),
  CreateImage: mutation(createImage, undefined, finishCreateImage),
  CreateInternetGateway: mutation(createInternetGateway),
  // Making an RSA key takes long enough to stall every other caller; it is made beforehand.
  CreateKeyPair: mutation(createKeyPair, prepareCreateKeyPair),
  CreateLaunchTemplate: mutation(createLaunchTemplate, prepareCallerArn),
  CreateLaunchTemplateVersion: mutation(createLaunchTemplateVersion, prepareCallerArn),
  CreateManagedPrefixList: mutation(createManagedPrefixList),
  CreateNatGateway: mutation(createNatGateway),
  CreateNetworkAcl: mutation(createNetworkAcl),
  CreateNetworkAclEntry: mutation(createNetworkAclEntry),
  CreateNetworkInsightsPath: mutation(createNetworkInsightsPath),
  CreateNetworkInterface: mutation(createNetworkInterface),
  CreatePlacementGroup: mutation(createPlacementGroup),
  CreateRoute: mutation(createRoute),
  CreateRouteTable: mutation(createRouteTable),
  CreateSecurityGroup: mutation(createSecurityGroup),
  CreateSnapshot: mutation(createSnapshot, undefined, finishCreateSnapshot),
  CreateSnapshots: mutation(createSnapshots, undefined, finishCreateSnapshots),
  CreateSubnet: mutation(createSubnet),
  CreateTags: mutation(createTags),
  CreateVolume: mutation(createVolume),
  CreateVpc: mutation(createVpc),
  CreateVpcPeeringConnection: mutation(createVpcPeeringConnection),
  DeleteDhcpOptions: mutation(deleteDhcpOptions),
  DeleteFleets: mutation(deleteFleets),
  DeleteInternetGateway: mutation(deleteInternetGateway),
  DeleteKeyPair: mutation(deleteKeyPair),
  DeleteLaunchTemplate: mutation(deleteLaunchTemplate),
  DeleteLaunchTemplateVersions: mutation(deleteLaunchTemplateVersions),
  DeleteManagedPrefixList: mutation(deleteManagedPrefixList),
  DeleteNatGateway: mutation(deleteNatGateway),
  DeleteNetworkAcl: mutation(deleteNetworkAcl),
  DeleteNetworkAclEntry: mutation(deleteNetworkAclEntry),
  DeleteNetworkInsightsAnalysis: mutation(deleteNetworkInsightsAnalysis),
  DeleteNetworkInsightsPath: mutation(deleteNetworkInsightsPath),
  DeleteNetworkInterface: mutation(deleteNetworkInterface),
  DeletePlacementGroup: mutation(deletePlacementGroup),
  DeleteRoute: mutation(deleteRoute),
  DeleteRouteTable: mutation(deleteRouteTable),
  DeleteSecurityGroup: mutation(deleteSecurityGroup),
  DeleteSnapshot: mutation(deleteSnapshot),
  DeleteSubnet: mutation(deleteSubnet),
  DeleteTags: mutation(deleteTags),
  DeleteVolume: mutation(deleteVolume),
  DeleteVpc: mutation(deleteVpc),
  DeleteVpcPeeringConnection: mutation(deleteVpcPeeringConnection),
  DeregisterImage: mutation(deregisterImage),
  DescribeAccountAttributes: query(describeAccountAttributes),
  DescribeAddresses: query(describeAddresses),
  DescribeAddressesAttribute: query(describeAddressesAttribute),
  DescribeAvailabilityZones: query(describeAvailabilityZones),
  DescribeCapacityReservations: query(describeCapacityReservations),
  DescribeDhcpOptions: query(describeDhcpOptions),
  DescribeEgressOnlyInternetGateways: query(describeEgressOnlyInternetGateways),
  DescribeFleetHistory: query(describeFleetHistory),
  DescribeFleetInstances: query(describeFleetInstances),
  DescribeFleets: query(describeFleets),
  DescribeHosts: query(describeHosts),
  DescribeIamInstanceProfileAssociations: query(describeIamInstanceProfileAssociations),
  DescribeImageAttribute: query(describeImageAttribute),
  DescribeImages: query(describeImages),
  DescribeImportImageTasks: query(describeImportImageTasks),
  DescribeImportSnapshotTasks: query(describeImportSnapshotTasks),
  DescribeInstanceAttribute: query(describeInstanceAttribute),
  DescribeInstanceCreditSpecifications: query(describeInstanceCreditSpecifications),
  DescribeInstanceImageMetadata: query(describeInstanceImageMetadata),
  DescribeInstanceStatus: query(describeInstanceStatus),
  DescribeInstanceTypeOfferings: query(describeInstanceTypeOfferings),
  DescribeInstanceTypes: query(describeInstanceTypes),
  DescribeInstances: pagedQuery(describeInstances, readInstances),
  DescribeInternetGateways: query(describeInternetGateways),
  DescribeKeyPairs: query(describeKeyPairs),
  DescribeLaunchTemplateVersions: query(describeLaunchTemplateVersions),
  DescribeLaunchTemplates: query(describeLaunchTemplates),
  DescribeLockedSnapshots: query(describeLockedSnapshots),
  DescribeManagedPrefixLists: query(describeManagedPrefixLists),
  DescribeNatGateways: query(describeNatGateways),
  DescribeNetworkAcls: query(describeNetworkAcls),
  DescribeNetworkInsightsAnalyses: query(describeNetworkInsightsAnalyses),
  DescribeNetworkInsightsPaths: query(describeNetworkInsightsPaths),
  DescribeNetworkInterfaceAttribute: query(describeNetworkInterfaceAttribute),
  DescribeNetworkInterfaces: query(describeNetworkInterfaces),
  DescribePlacementGroups: query(describePlacementGroups),
  DescribePrefixLists: query(describePrefixLists),
  DescribeRegions: query(describeRegions),
  DescribeRouteTables: query(describeRouteTables),
  DescribeSecurityGroupReferences: query(describeSecurityGroupReferences),
  DescribeSecurityGroupRules: query(describeSecurityGroupRules),
  DescribeSecurityGroups: query(describeSecurityGroups),
  DescribeSnapshotAttribute: query(describeSnapshotAttribute),
  DescribeSnapshots: query(describeSnapshots),
  DescribeStaleSecurityGroups: query(describeStaleSecurityGroups),
  DescribeSpotInstanceRequests: query(describeSpotInstanceRequests),
  DescribeSubnets: query(describeSubnets),
  DescribeTags: query(describeTags),
  DescribeVolumeAttribute: query(describeVolumeAttribute),
  DescribeVolumeStatus: query(describeVolumeStatus),
  DescribeVolumes: query(describeVolumes),
  DescribeVolumesModifications: query(describeVolumesModifications),
  DescribeVpcAttribute: query(describeVpcAttribute),
  DescribeVpcClassicLink: query(describeVpcClassicLink),
  DescribeVpcClassicLinkDnsSupport: query(describeVpcClassicLinkDnsSupport),
  DescribeVpcEndpoints: query(describeVpcEndpoints),
  DescribeVpcPeeringConnections: query(describeVpcPeeringConnections),
  DescribeVpcs: query(describeVpcs),
  DescribeVpnGateways: query(describeVpnGateways),
  DetachInternetGateway: mutation(detachInternetGateway),
  DetachNetworkInterface: mutation(detachNetworkInterface),
  DetachVolume: mutation(detachVolume),
  DisableEbsEncryptionByDefault: mutation(disableEbsEncryptionByDefault),
  DisableImage: mutation(disableImage),
  DisableImageBlockPublicAccess: mutation(disableImageBlockPublicAccess),
  DisableImageDeprecation: mutation(disableImageDeprecation),
  DisableImageDeregistrationProtection: mutation(disableImageDeregistrationProtection),
  DisableSerialConsoleAccess: mutation(disableSerialConsoleAccess),
  DisableSnapshotBlockPublicAccess: mutation(disableSnapshotBlockPublicAccess),
  DisassociateAddress: mutation(disassociateAddress),
  DisassociateRouteTable: mutation(disassociateRouteTable),
  DisassociateVpcCidrBlock: mutation(disassociateVpcCidrBlock),
  EnableEbsEncryptionByDefault: mutation(enableEbsEncryptionByDefault),
  EnableImage: mutation(enableImage),
  EnableImageBlockPublicAccess: mutation(enableImageBlockPublicAccess),
  EnableImageDeprecation: mutation(enableImageDeprecation),
  EnableImageDeregistrationProtection: mutation(enableImageDeregistrationProtection),
  EnableSerialConsoleAccess: mutation(enableSerialConsoleAccess),
  EnableSnapshotBlockPublicAccess: mutation(enableSnapshotBlockPublicAccess),
  EnableVolumeIO: mutation(enableVolumeIO),
  GetCapacityReservationUsage: query(getCapacityReservationUsage),
  GetConsoleOutput: mutation(getConsoleOutput, undefined, awaitConsoleOutput),
  GetConsoleScreenshot: mutation(getConsoleScreenshot, undefined, awaitConsoleScreenshot),
  GetEbsDefaultKmsKeyId: query(getEbsDefaultKmsKeyId),
  GetEbsEncryptionByDefault: query(getEbsEncryptionByDefault),
  GetImageBlockPublicAccessState: query(getImageBlockPublicAccessState),
  GetInstanceMetadataDefaults: query(getInstanceMetadataDefaults),
  DescribeSpotPriceHistory: pagedQuery(describeSpotPriceHistory, readSpotPriceHistory),
  GetSpotPlacementScores: query(getSpotPlacementScores, prepareSpotPlacementScores),
  GetInstanceTypesFromInstanceRequirements: query(getInstanceTypesFromInstanceRequirements),
  GetLaunchTemplateData: query(getLaunchTemplateData),
  GetManagedPrefixListAssociations: query(getManagedPrefixListAssociations),
  GetManagedPrefixListEntries: query(getManagedPrefixListEntries),
  GetPasswordData: query(getPasswordData),
  GetSerialConsoleAccessStatus: query(getSerialConsoleAccessStatus),
  GetSnapshotBlockPublicAccessState: query(getSnapshotBlockPublicAccessState),
  ImportImage: mutation(importImage),
  ImportKeyPair: mutation(importKeyPair),
  ImportSnapshot: mutation(importSnapshot),
  ListImagesInRecycleBin: query(listImagesInRecycleBin),
  ListSnapshotsInRecycleBin: query(listSnapshotsInRecycleBin),
  ListVolumesInRecycleBin: query(listVolumesInRecycleBin),
  LockSnapshot: mutation(lockSnapshot),
  ModifyCapacityReservation: mutation(modifyCapacityReservation),
  ModifyEbsDefaultKmsKeyId: mutation(modifyEbsDefaultKmsKeyId),
  ModifyFleet: mutation(modifyFleet),
  ModifyHosts: mutation(modifyHosts),
  ModifyImageAttribute: mutation(modifyImageAttribute),
  ModifyInstanceAttribute: mutation(modifyInstanceAttribute),
  ModifyInstanceCapacityReservationAttributes: mutation(modifyInstanceCapacityReservationAttributes),
  ModifyInstanceCpuOptions: mutation(modifyInstanceCpuOptions),
  ModifyInstanceCreditSpecification: mutation(modifyInstanceCreditSpecification),
  ModifyInstanceEventStartTime: mutation(modifyInstanceEventStartTime),
  ModifyInstanceMaintenanceOptions: mutation(modifyInstanceMaintenanceOptions),
  ModifyInstanceMetadataDefaults: mutation(modifyInstanceMetadataDefaults),
  ModifyInstanceMetadataOptions: mutation(modifyInstanceMetadataOptions),
  ModifyInstancePlacement: mutation(modifyInstancePlacement),
  ModifyLaunchTemplate: mutation(modifyLaunchTemplate),
  ModifyManagedPrefixList: mutation(modifyManagedPrefixList),
  ModifyNetworkInterfaceAttribute: mutation(modifyNetworkInterfaceAttribute),
  ModifySecurityGroupRules: mutation(modifySecurityGroupRules),
  ModifySnapshotAttribute: mutation(modifySnapshotAttribute),
  ModifySubnetAttribute: mutation(modifySubnetAttribute),
  ModifyVolume: mutation(modifyVolume),
  ModifyVolumeAttribute: mutation(modifyVolumeAttribute),
  ModifyVpcAttribute: mutation(modifyVpcAttribute),
  ModifyVpcPeeringConnectionOptions: mutation(modifyVpcPeeringConnectionOptions),
  ModifyVpcTenancy: mutation(modifyVpcTenancy),
  MonitorInstances: mutation(monitorInstances),
  MoveCapacityReservationInstances: mutation(moveCapacityReservationInstances),
  RebootInstances: mutation(rebootInstances),
  RegisterImage: mutation(registerImage),
  RejectVpcPeeringConnection: mutation(rejectVpcPeeringConnection),
  ReleaseAddress: mutation(releaseAddress),
  ReleaseHosts: mutation(releaseHosts),
  ReplaceNetworkAclAssociation: mutation(replaceNetworkAclAssociation),
  ReplaceNetworkAclEntry: mutation(replaceNetworkAclEntry),
  ReplaceRoute: mutation(replaceRoute),
  ReplaceRouteTableAssociation: mutation(replaceRouteTableAssociation),
  ReportInstanceStatus: mutation(reportInstanceStatus),
  RequestSpotInstances: mutation(requestSpotInstances),
  ResetEbsDefaultKmsKeyId: mutation(resetEbsDefaultKmsKeyId),
  ResetImageAttribute: mutation(resetImageAttribute),
  ResetInstanceAttribute: mutation(resetInstanceAttribute),
  ResetNetworkInterfaceAttribute: mutation(resetNetworkInterfaceAttribute),
  ResetSnapshotAttribute: mutation(resetSnapshotAttribute),
  RestoreImageFromRecycleBin: mutation(restoreImageFromRecycleBin),
  RestoreManagedPrefixListVersion: mutation(restoreManagedPrefixListVersion),
  RestoreSnapshotFromRecycleBin: mutation(restoreSnapshotFromRecycleBin),
  RestoreVolumeFromRecycleBin: mutation(restoreVolumeFromRecycleBin),
  RevokeSecurityGroupEgress: mutation(revokeSecurityGroupEgress),
  RevokeSecurityGroupIngress: mutation(revokeSecurityGroupIngress),
  RunInstances: mutation(runInstances),
  SendDiagnosticInterrupt: mutation(sendDiagnosticInterrupt, undefined, awaitDiagnosticInterrupt),
  StartInstances: mutation(startInstances),
  StartNetworkInsightsAnalysis: mutation(startNetworkInsightsAnalysis),
  StopInstances: mutation(stopInstances),
  TerminateInstances: mutation(terminateInstances),
  UnassignPrivateIpAddresses: mutation(unassignPrivateIpAddresses),
  UnlockSnapshot: mutation(unlockSnapshot),
  UnmonitorInstances: mutation(unmonitorInstances),
  UpdateSecurityGroupRuleDescriptionsEgress: mutation(updateSecurityGroupRuleDescriptionsEgress),
  UpdateSecurityGroupRuleDescriptionsIngress: mutation(updateSecurityGroupRuleDescriptionsIngress),
}
