/**
 * The public names of AMIs (x86_64 only, as every image here) that clients ask Systems Manager for,
 * with the system that each means: the name that a recipe of that system has in images/.
 *
 * https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
 * https://wiki.debian.org/Cloud/AmazonEC2Image
 * https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
 */
export const PUBLIC_NAMES: ReadonlyMap<string, string> = new Map([...amazonNames(), ...debianNames(), ...ubuntuNames()])

type Named = [name: string, system: string]

function amazonNames(): Named[] {
  const names: [system: string, images: string[]][] = [
    ['amazon-linux-2023', [
      'al2023-ami-kernel-default-x86_64', 'al2023-ami-kernel-6.1-x86_64', 'al2023-ami-kernel-6.12-x86_64',
      'al2023-ami-minimal-kernel-default-x86_64', 'al2023-ami-minimal-kernel-6.1-x86_64',
      'al2023-ami-minimal-kernel-6.12-x86_64',
    ]],
    ['amazon-linux-2', [
      'amzn2-ami-hvm-x86_64-gp2', 'amzn2-ami-hvm-x86_64-ebs', 'amzn2-ami-kernel-5.10-hvm-x86_64-gp2',
      'amzn2-ami-kernel-5.10-hvm-x86_64-ebs', 'amzn2-ami-minimal-hvm-x86_64-ebs',
    ]],
    ['amazon-linux-1', ['amzn-ami-hvm-x86_64-gp2', 'amzn-ami-hvm-x86_64-ebs', 'amzn-ami-minimal-hvm-x86_64-ebs']],
  ]
  return names.flatMap(([system, images]) =>
    images.map((image): Named => [`/aws/service/ami-amazon-linux-latest/${image}`, system]))
}

function debianNames(): Named[] {
  const releases: [number: string, name: string][] = [['11', 'bullseye'], ['12', 'bookworm'], ['13', 'trixie']]
  return releases.flatMap((release) => ['release', 'daily'].flatMap((kind) =>
    release.map((called): Named => [`/aws/service/debian/${kind}/${called}/latest/amd64`, `debian-${release[0]}`])))
}

function ubuntuNames(): Named[] {
  const releases: [number: string, name: string][] = [
    ['18.04', 'bionic'], ['20.04', 'focal'], ['22.04', 'jammy'], ['24.04', 'noble'],
  ]
  return releases.flatMap((release) => ['server', 'server-minimal'].flatMap((edition) =>
    release.flatMap((called) => ['ebs-gp2', 'ebs-gp3'].map((disk): Named => [
      `/aws/service/canonical/ubuntu/${edition}/${called}/stable/current/amd64/hvm/${disk}/ami-id`,
      `ubuntu-${release[0]}`,
    ]))))
}
