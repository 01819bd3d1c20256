import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Functions for a guest's shell: a new token in T, one GET of a path, and the whole tree with a hash of each value. */
const SHELL = `
imds=169.254.169.254
token() {
  printf 'PUT /latest/api/token HTTP/1.1\\r\\nHost: x\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 600\\r\\nConnection: close\\r\\n\\r\\n' |
    nc $imds 80 | tail -n 1
}
T=$(token)
get() { wget -q -O - --header "X-aws-ec2-metadata-token: $T" http://$imds$1; }
crawl() {
  local name
  for name in $(get $1); do
    case $name in [0-9]*=*) name=\${name%%=*}/ ;; esac
    case $1$name in
      /latest/user-data) ;;
      */) crawl $1$name ;;
      /latest/*/*) echo $1$name $(get $1$name | md5sum) ;;
      *) crawl $1$name/ ;;
    esac
  done
}
`

describe.skipIf(whyNotReal !== undefined)(`metadata of real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('imds')
  let id: string

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.up()
    await cloud.until('the ssh command to be printed', 120_000, () => cloud.stderr.includes('Open a shell there'))
    id = await inGuest('get /latest/meta-data/instance-id')
  })
  afterAll(() => cloud.close())

  const inGuest = (command: string, instance = 'first') => cloud.ssh(instance, `${SHELL}${command}`)
  const md5 = (content: string | Buffer) => createHash('md5').update(content).digest('hex')
  const modify = (...args: string[]) => cloud.awsJson('ec2', 'modify-instance-metadata-options', '--instance-id', id, ...args)

  async function describeInstance(instanceId: string): Promise<Record<string, string>> {
    const answer = await cloud.awsJson('ec2', 'describe-instances', '--instance-ids', instanceId)
    const { Reservations } = answer as unknown as { Reservations: { Instances: Record<string, string>[] }[] }
    return Reservations[0]?.Instances[0] ?? {}
  }

  test('a guest crawls the whole tree, and finds what the API says', async () => {
    const instance = await describeInstance(id)
    const crawled = new Map((await inGuest('crawl /latest/')).split('\n').map((line) => {
      const [name = '', hash = ''] = line.split(' ')
      return [name.replace('/latest/', ''), hash]
    }))
    expect(crawled.size).toBeGreaterThan(40)
    expect([...crawled.values()]).not.toContain(md5(''))
    for (const [name, value] of [
      ['instance-id', id], ['ami-id', instance['ImageId']], ['instance-type', instance['InstanceType']],
      ['local-ipv4', instance['PrivateIpAddress']], ['public-ipv4', instance['PublicIpAddress']],
      ['local-hostname', instance['PrivateDnsName']], ['public-hostname', instance['PublicDnsName']],
      ['placement/region', 'us-east-1'], ['security-groups', 'hearth-ssh'], ['block-device-mapping/root', instance['RootDeviceName']],
    ] as const) {
      expect([name, crawled.get(`meta-data/${name}`)]).toEqual([name, md5(value ?? '')])
    }
    const mac = await inGuest('get /latest/meta-data/mac')
    expect(await cloud.ssh('first', 'cat /sys/class/net/eth0/address')).toBe(mac)
    expect(crawled.get(`meta-data/network/interfaces/macs/${mac}/vpc-id`)).toBe(md5(instance['VpcId'] ?? ''))
    expect(await inGuest('get /2021-03-23/meta-data/instance-id')).toBe(id)
  })

  test("a guest's identity document is verified on the host with the certificate of the cloud", async () => {
    const certificate = await cloud.hearth('certificate')
    expect(certificate).toMatchObject({ code: 0, stdout: readFileSync(path.join(cloud.home, 'identity-certificate.pem'), 'utf8') })
    const write = (name: string, content: string) => writeFileSync(path.join(cloud.home, 'tmp', name), content)
    write('certificate', certificate.stdout)
    const document = await inGuest('get /latest/dynamic/instance-identity/document')
    expect(JSON.parse(document)).toMatchObject({ instanceId: id, region: 'us-east-1', accountId: expect.stringMatching(/^\d{12}$/) })
    write('document', document)
    write('signature64', await inGuest('get /latest/dynamic/instance-identity/signature'))
    // The armour is added as AWS's documentation says.
    for (const name of ['rsa2048', 'pkcs7']) {
      write(name, await cloud.ssh('first', `${SHELL}
        echo "-----BEGIN PKCS7-----" > s; get /latest/dynamic/instance-identity/${name} >> s; echo "" >> s
        echo "-----END PKCS7-----" >> s; cat s`))
    }
    const verified = await cloud.run('sh', ['-e', '-c', `cd ${cloud.home}/tmp
      for name in rsa2048 pkcs7; do
        openssl smime -verify -in $name -inform PEM -certfile certificate -noverify -out from-$name
        cmp from-$name document
      done
      openssl x509 -pubkey -noout -in certificate > key
      base64 -d signature64 > signature
      openssl dgst -sha256 -verify key -signature signature document`])
    expect(verified).toMatchObject({ code: 0, stdout: 'Verified OK\n' })
  })

  test('options are in force at once: tags, tokens, the whole endpoint', async () => {
    const status = (headers = '') =>
      cloud.ssh('first', `printf 'GET /latest/meta-data/ami-id HTTP/1.1\\r\\nHost: x\\r\\n${headers}Connection: close\\r\\n\\r\\n' |
        nc 169.254.169.254 80 | head -n 1 | cut -d ' ' -f 2`)
    const tag = 'get /latest/meta-data/tags/instance/Name || true'
    expect(await inGuest(tag)).toBe('')
    await modify('--instance-metadata-tags', 'enabled')
    expect(await inGuest(tag)).toBe('first')
    await cloud.awsJson('ec2', 'create-tags', '--resources', id, '--tags', 'Key=Role,Value=web')
    expect(await inGuest('get /latest/meta-data/tags/instance/')).toBe('Name\nRole')
    await modify('--instance-metadata-tags', 'disabled')
    expect(await inGuest(tag)).toBe('')

    await modify('--http-tokens', 'optional')
    expect(await status()).toBe('200')
    await modify('--http-tokens', 'required')
    expect(await status()).toBe('401')
    expect(await inGuest('get /latest/meta-data/instance-id')).toBe(id)
    await modify('--http-endpoint', 'disabled')
    expect(await status()).toBe('403')
    await modify('--http-endpoint', 'enabled', '--http-tokens', 'optional')
    expect(await status()).toBe('200')
    expect(await status('X-aws-ec2-metadata-token: forged\\r\\n')).toBe('401')
  })

  test('user-data arrives byte for byte', async () => {
    const bytes = Buffer.from(Array.from({ length: 16_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff))
    const file = path.join(cloud.home, 'tmp', 'user-data')
    writeFileSync(file, bytes)
    const first = await describeInstance(id)
    const answer = await cloud.awsJson('ec2', 'run-instances', '--image-id', first['ImageId'] ?? '', '--instance-type', 't3.micro',
      '--key-name', first['KeyName'] ?? '', '--security-groups', 'hearth-ssh', '--user-data', `fileb://${file}`)
    const [other] = (answer as unknown as { Instances: { InstanceId: string }[] }).Instances
    const otherId = other?.InstanceId ?? ''
    await cloud.isUp(otherId)
    expect(await inGuest('get /latest/user-data | md5sum', otherId)).toBe(`${md5(bytes)}  -`)
    // A token is of the instance that asked for it.
    const token = await inGuest('echo $T')
    expect(await inGuest(`T=${token}; get /latest/meta-data/instance-id || echo refused`, otherId)).toBe('refused')
    expect(await inGuest('get /latest/meta-data/instance-id', otherId)).toBe(otherId)
  })
})
