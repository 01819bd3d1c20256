/** Form of the names of regions; they are parts of paths and of names of PostgreSQL's schemas, which are cut off at 63 bytes. */
export const REGION_NAME = /^(?=.{1,32}$)[a-z]{2}(-[a-z]+)+-\d$/

/**
 * AWS's regions. Only what must differ from region to region without being written down anywhere follows from a
 * place in this list: new ones go to its end.
 */
export const KNOWN_REGIONS: readonly string[] = [
  'us-east-1', 'us-east-2', 'us-west-1', 'us-west-2', 'af-south-1', 'ap-east-1', 'ap-east-2', 'ap-northeast-1', 'ap-northeast-2',
  'ap-northeast-3', 'ap-south-1', 'ap-south-2', 'ap-southeast-1', 'ap-southeast-2', 'ap-southeast-3', 'ap-southeast-4', 'ap-southeast-5',
  'ap-southeast-6', 'ap-southeast-7', 'ca-central-1', 'ca-west-1', 'eu-central-1', 'eu-central-2', 'eu-north-1', 'eu-south-1', 'eu-south-2',
  'eu-west-1', 'eu-west-2', 'eu-west-3', 'il-central-1', 'me-central-1', 'me-south-1', 'mx-central-1', 'sa-east-1',
]

/** Of AWS's other partitions, by the beginnings of their regions' names: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html */
const OTHER_PARTITIONS = /^(cn|us-gov|[a-z]{2}-iso[a-z]?)-/

/** Whether a region is of a partition whose ARNs and endpoints are others than those that there are here. */
export function isOfOtherPartition(region: string): boolean {
  return OTHER_PARTITIONS.test(region)
}
