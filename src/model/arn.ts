/** ARN of an EC2 resource: arn:aws:ec2:REGION:ACCOUNT:TYPE/ID. */
export function ec2Arn(region: string, account: string, type: string, id: string): string {
  return `arn:aws:ec2:${region}:${account}:${type}/${id}`
}
