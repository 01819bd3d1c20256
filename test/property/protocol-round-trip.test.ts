import * as ec2 from '@aws-sdk/client-ec2'
import * as iam from '@aws-sdk/client-iam'
import * as ssm from '@aws-sdk/client-ssm'
import * as sts from '@aws-sdk/client-sts'
import { NormalizedSchema } from '@smithy/core/schema'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeInput } from '../../src/protocol/decode.ts'
import { encodeOutput } from '../../src/protocol/encode.ts'
import { decodeJsonInput, encodeJsonOutput } from '../../src/protocol/json.ts'
import { loadServiceModel, type Operation, type ServiceName } from '../../src/protocol/model.ts'
import { buildForm, parseParameters } from '../../src/protocol/query.ts'
import { answer, randomValue, request } from './protocol-generator.ts'

const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret' }
const config = { region: 'us-east-1', endpoint: 'http://127.0.0.1:1', credentials }
const services = [
  { name: 'ec2' as ServiceName, sdk: ec2 as Record<string, unknown>, client: new ec2.EC2Client(config) },
  { name: 'sts' as ServiceName, sdk: sts as Record<string, unknown>, client: new sts.STSClient(config) },
  { name: 'iam' as ServiceName, sdk: iam as Record<string, unknown>, client: new iam.IAMClient(config) },
  { name: 'ssm' as ServiceName, sdk: ssm as Record<string, unknown>, client: new ssm.SSMClient(config) },
]
const RUNS = 12

/** What is used here of the SDK's own codec; its declared type hides it. */
interface SdkProtocol {
  setSerdeContext(context: object): void
  serializeRequest(operation: object, input: object, context: object): Promise<{ body: string | Uint8Array }>
  deserializeResponse(operation: object, context: object, response: object): Promise<object>
}

/** The SDK's own codec of a service: the one that its clients use, without their middleware. */
function sdkCodec(client: { config: object }) {
  const { protocol } = client.config as unknown as { protocol: SdkProtocol }
  protocol.setSerdeContext(client.config)
  const context = { ...client.config, endpoint: async () => ({ protocol: 'http:', hostname: 'x', path: '/', method: 'POST' }) }
  return {
    async serialize(schema: unknown, input: object): Promise<string> {
      const { body } = await protocol.serializeRequest(operationSchema(schema), input, context)
      return typeof body === 'string' ? body : new TextDecoder().decode(body)
    },
    async deserialize(schema: unknown, text: string): Promise<object> {
      const response = { statusCode: 200, headers: {}, body: new TextEncoder().encode(text) }
      const output = await protocol.deserializeResponse(operationSchema(schema), context, response)
      return Object.fromEntries(Object.entries(output).filter(([name]) => name !== '$metadata'))
    },
  }
}

/** The static tuple of an operation as the object that the protocol takes. */
function operationSchema(schema: unknown) {
  const [, namespace, name, traits, input, output] = schema as [number, string, string, number, unknown, unknown]
  return { namespace, name, traits, input, output }
}

describe.each(services)('the wire of $name', ({ name, sdk, client }) => {
  const model = loadServiceModel(name)
  const codec = sdkCodec(client)
  const isJson = model.protocol === 'awsJson1_1'
  // Of some services only the names of most operations are kept.
  const operations = model.operationNames().filter((action) => model.operation(action)?.hasShapes)
  const schemas = (action: string) => sdk[`${action}$`] as unknown[]
  const operation = (action: string) => model.operation(action) as Operation

  it('has every operation of the SDK', () => {
    const inSdk = Object.keys(sdk).filter((key) => key.endsWith('Command') && key !== '$Command')
    expect(model.operationNames().map((action) => `${action}Command`).toSorted()).toEqual(inSdk.toSorted())
  })

  it('decodes what the SDK sends, for every operation', async () => {
    for (const action of operations) {
      const schema = NormalizedSchema.of(schemas(action)[4] as never)
      if (schema.isUnitSchema()) continue
      await fc.assert(fc.asyncProperty(fc.gen(), async (g) => {
        const input = randomValue(g, schema, request) as object
        const body = await codec.serialize(schemas(action), input)
        const decoded = isJson
          ? decodeJsonInput(operation(action), Buffer.from(body))
          : decodeInput(model, operation(action), buildForm(parseParameters(body)))
        expect(decoded, action).toEqual(input)
      }), { numRuns: RUNS })
    }
  }, 120_000)

  it('answers what the SDK decodes, for every operation', async () => {
    for (const action of operations) {
      const schema = NormalizedSchema.of(schemas(action)[5] as never)
      if (schema.isUnitSchema()) continue
      await fc.assert(fc.asyncProperty(fc.gen(), async (g) => {
        const output = randomValue(g, schema, answer) as object
        const text = isJson
          ? encodeJsonOutput(operation(action), output)
          : encodeOutput(model, operation(action), output, 'request-1')
        expect(await codec.deserialize(schemas(action), text), action).toEqual(output)
      }), { numRuns: RUNS })
    }
  }, 120_000)

  it('answers operations without output in a way that the SDK takes', async () => {
    for (const action of operations.filter((action) => !operation(action).output)) {
      const xml = encodeOutput(model, operation(action), {}, 'request-1')
      expect(xml).toContain('<return>true</return>')
      expect(await codec.deserialize(schemas(action), xml), action).toEqual({})
    }
  })
})
