import { describe, expect, it } from 'vitest'
import { decodeInput } from './decode.ts'
import { encodeError, encodeOutput, escapeText } from './encode.ts'
import { loadServiceModel, type ServiceName } from './model.ts'
import { buildForm, MAX_KEYS, MAX_KEY_DEPTH, parseParameters } from './query.ts'

function operation(service: ServiceName, action: string) {
  const found = loadServiceModel(service).operation(action)
  if (!found) throw new Error(`no ${action}`)
  return found
}

const decode = (action: string, form: string, service: ServiceName = 'ec2') =>
  decodeInput(loadServiceModel(service), operation(service, action), buildForm(parseParameters(form)))

const encode = (service: ServiceName, action: string, output: object) =>
  encodeOutput(loadServiceModel(service), operation(service, action), output, 'r-1').split('\n')[1]

const keys = (count: number) => Array.from({ length: count }, (_, index) => `k${index}=`).join('&')
const deep = (levels: number) => Array.from({ length: levels }, () => 'a').join('.')

describe('decodeInput', () => {
  it.each([
    ['DescribeInstances', 'InstanceId.2=b&InstanceId.10=c&InstanceId.1=a', { InstanceIds: ['a', 'b', 'c'] }],
    ['DescribeInstances', 'InstanceId.1=a&InstanceId.7=b', { InstanceIds: ['a', 'b'] }],
    ['DescribeInstances', 'Filter.1.Name=tag%3Aa+b&Filter.1.Value.1=', { Filters: [{ Name: 'tag:a b', Values: [''] }] }],
    ['DescribeInstances', 'MaxResults=%2B5&DryRun=True', { MaxResults: 5, DryRun: true }],
    ['DescribeInstances', 'MaxResults=&NextToken=&InstanceId=', {}],
    ['DescribeInstances', 'Action=x&Version=y&X-Amz-Date=z', {}],
    ['RunInstances', 'MinCount=1&MaxCount=2&Placement.AvailabilityZone=', { MinCount: 1, MaxCount: 2, Placement: {} }],
    ['ModifyInstanceAttribute', 'InstanceId=i-1&UserData.Value=', { InstanceId: 'i-1', UserData: {} }],
    ['ImportKeyPair', 'KeyName=k&PublicKeyMaterial=aGk%0A=', { KeyName: 'k', PublicKeyMaterial: new Uint8Array([104, 105]) }],
    ['DescribeSpotPriceHistory', 'StartTime=2026-01-31T10:00:00.5%2B01:00', { StartTime: new Date('2026-01-31T09:00:00.500Z') }],
  ])('%s %s', (action, form, expected) => {
    expect(decode(action, form)).toEqual(expected)
  })

  it('reads lists and maps of awsQuery', () => {
    const form = 'RoleArn=a&RoleSessionName=b&Tags.member.1.Key=k&Tags.member.1.Value=v&TransitiveTagKeys='
    const expected = { RoleArn: 'a', RoleSessionName: 'b', Tags: [{ Key: 'k', Value: 'v' }], TransitiveTagKeys: [] }
    expect(decode('AssumeRole', form, 'sts')).toEqual(expected)
  })

  it.each([
    ['RunInstances', 'MaxCount=1', 'MissingParameter', 'The request must contain the parameter MinCount'],
    ['RunInstances', 'MaxCount=1&MinCount=', 'MissingParameter', 'The request must contain the parameter MinCount'],
    ['TerminateInstances', '', 'MissingParameter', 'The request must contain the parameter InstanceId'],
    ['RunInstances', 'MaxCount=1&MinCount=abc', 'InvalidParameterValue',
      'Value (abc) for parameter MinCount is invalid. It must be a whole number.'],
    ['RunInstances', 'MaxCount=1&MinCount=1.5', 'InvalidParameterValue',
      'Value (1.5) for parameter MinCount is invalid. It must be a whole number.'],
    ['DescribeInstances', 'MaxResults=0x10', 'InvalidParameterValue', /^Value \(0x10\) for parameter MaxResults is invalid\./],
    ['DescribeInstances', 'MaxResults=1e999', 'InvalidParameterValue', /MaxResults/],
    ['DescribeInstances', 'DryRun=yes', 'InvalidParameterValue', /^Value \(yes\) for parameter DryRun is invalid\./],
    ['ImportKeyPair', 'KeyName=k&PublicKeyMaterial=a*b', 'InvalidParameterValue', /base64/],
    ['DescribeSpotPriceHistory', 'StartTime=2026-02-30T00:00:00Z', 'InvalidParameterValue', /StartTime/],
    ['DescribeSpotPriceHistory', 'StartTime=2026-02-28', 'InvalidParameterValue', /StartTime/],
    ['DescribeInstances', 'Filter.1.Name=%00', 'InvalidCharacter', /Filter\.1\.Name/],
    ['DescribeInstances', 'Instanceid.1=a', 'UnknownParameter', 'The parameter Instanceid.1 is not recognized'],
    ['DescribeInstances', 'InstanceId=a', 'UnknownParameter', 'The parameter InstanceId is not recognized'],
    ['DescribeInstances', 'InstanceId.x=a', 'UnknownParameter', 'The parameter InstanceId.x is not recognized'],
    ['DescribeInstances', 'InstanceId.01=a', 'UnknownParameter', /InstanceId\.01/],
    ['DescribeInstances', 'InstanceId.1.Foo=a', 'UnknownParameter', /InstanceId\.1\.Foo/],
    ['DescribeInstances', 'InstanceId.member.1=a', 'UnknownParameter', /InstanceId\.member\.1/],
    ['DescribeInstances', 'Filter.1.__proto__.x=a', 'UnknownParameter', /__proto__\.x/],
    ['DescribeInstances', '__proto__=a', 'UnknownParameter', 'The parameter __proto__ is not recognized'],
    ['DescribeInstances', 'constructor=a', 'UnknownParameter', /constructor/],
    ['DescribeInstances', 'Action.1=a', 'UnknownParameter', /Action\.1/],
    ['DescribeInstances', 'DryRun..x=a', 'UnknownParameter', /DryRun/],
  ])('%s %s is refused', (action, form, code, message) => {
    const matching = typeof message === 'string' ? message : expect.stringMatching(message)
    expect(() => decode(action, form)).toThrow(expect.objectContaining({ code, message: matching }))
  })

  it('leaves no operation with a parameter that is named as a common one', () => {
    const common = new Set(['Action', 'Version'])
    const model = loadServiceModel('ec2')
    const clashing = model.operationNames().filter((name) =>
      model.operation(name)?.input?.members.some(({ queryName }) => common.has(queryName)))
    expect(clashing).toEqual([])
  })
})

describe('parseParameters and buildForm', () => {
  it.each(['a=%', 'a=%zz', 'a=%ff', '%c3=1', '=1', 'a=\u0000', 'a=1\n'])('refuse %j', (text) => {
    expect(() => parseParameters(text)).toThrow(expect.objectContaining({ code: 'MalformedQueryString', httpStatus: 400 }))
  })

  it('keep to their limits', () => {
    expect(parseParameters(keys(MAX_KEYS))).toHaveLength(MAX_KEYS)
    expect(() => parseParameters(keys(MAX_KEYS + 1))).toThrow(`more than ${MAX_KEYS} parameters`)
    expect(() => buildForm([[deep(MAX_KEY_DEPTH), '']])).not.toThrow()
    expect(() => buildForm([[deep(MAX_KEY_DEPTH + 1), '']])).toThrow(`more than ${MAX_KEY_DEPTH} levels`)
  })
})

describe('encodeOutput', () => {
  const ec2Namespace = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'

  it('writes EC2\'s shape', () => {
    const output = {
      ReservationId: 'r-2', OwnerId: undefined, Groups: [],
      Instances: [{ AmiLaunchIndex: 0, LaunchTime: new Date('2026-01-31T09:00:00Z'), EbsOptimized: false }],
    }
    expect(encode('ec2', 'RunInstances', output)).toBe(`<RunInstancesResponse ${ec2Namespace}><requestId>r-1</requestId>`
      + '<reservationId>r-2</reservationId><groupSet/><instancesSet><item><ebsOptimized>false</ebsOptimized>'
      + '<amiLaunchIndex>0</amiLaunchIndex><launchTime>2026-01-31T09:00:00.000Z</launchTime></item></instancesSet>'
      + '</RunInstancesResponse>')
  })

  it('says true where there is nothing to say', () => {
    expect(encode('ec2', 'RebootInstances', {}))
      .toBe(`<RebootInstancesResponse ${ec2Namespace}><requestId>r-1</requestId><return>true</return></RebootInstancesResponse>`)
  })

  it('writes the shape of awsQuery', () => {
    expect(encode('sts', 'GetCallerIdentity', { Account: '1' })).toBe(
      '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
      + '<Account>1</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>'
      + '</GetCallerIdentityResponse>')
  })

  it.each([
    [{ ReservationId: 1 }, 'RunInstances.ReservationId must be a string, not number'],
    [{ Instances: {} }, 'RunInstances.Instances must be a list, not object'],
    [{ Instances: [null] }, 'RunInstances.Instances[] must be a structure, not null'],
    [{ Instances: [{ AmiLaunchIndex: Number.NaN }] }, 'RunInstances.Instances[].AmiLaunchIndex must be a number'],
  ])('refuses %j, which no handler may return', (output, message) => {
    expect(() => encode('ec2', 'RunInstances', output)).toThrow(message)
  })

  it('writes errors in both shapes', () => {
    const error = { code: 'A.B', message: '<&>', isSender: true }
    expect(encodeError(loadServiceModel('ec2'), error, 'r-1')).toContain(
      '<Response><Errors><Error><Code>A.B</Code><Message>&lt;&amp;&gt;</Message></Error></Errors><RequestID>r-1</RequestID></Response>')
    expect(encodeError(loadServiceModel('sts'), error, 'r-1')).toContain(
      '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>A.B</Code>'
      + '<Message>&lt;&amp;&gt;</Message></Error><RequestId>r-1</RequestId></ErrorResponse>')
  })

  it('writes no character that XML cannot hold', () => {
    expect(escapeText('a\u0000b\u001bc\ud800d\uffffe\tf\ng\rh🦄')).toBe('a\ufffdb\ufffdc\ufffdd\ufffde\tf\ng&#13;h🦄')
  })
})
