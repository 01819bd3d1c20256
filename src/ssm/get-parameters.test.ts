import { beforeEach, describe, expect, it } from 'vitest'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { insertImage, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { getParameter, getParameters, getParametersByPath } from './get-parameters.ts'
import { resolveImageId } from './resolve-image.ts'

const DEBIAN = '/aws/service/debian/release/12/latest/amd64'
const AMAZON = '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64'
const UBUNTU = '/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id'

let test: TestStore
let remarks: string[]
beforeEach(async () => {
  test = await openTestStore()
  remarks = []
})

const run = <T>(body: (context: Context) => Promise<T>) =>
  test.run((context) => body({ ...context, remark: (text) => void remarks.push(text) }))
const add = (recipe: string | null, ms: number, change: object = {}) =>
  run((context) => insertImage(context, { name: `hearth-${recipe}-${ms}`, created_ms: NOW_MS + ms, ...change }, { recipe }))
const failure = (promise: Promise<unknown>) => promise.then(() => 'no failure', (error: unknown) => {
  if (error instanceof ApiError) return `${error.httpStatus} ${error.code}`
  throw error
})
const get = async (Name: string) => (await run((context) => getParameter(context, { Name }))).Parameter
const byPath = (input: object) => run((context) => getParametersByPath(context, { Path: '/aws/service', ...input }))

describe('GetParameter', () => {
  it('is the newest local image of the system', async () => {
    await add('tiny', 5)
    await add('debian-12', 1)
    const { image_id: newest } = await add('debian-12', 2)
    expect(await get(DEBIAN)).toEqual({
      Name: DEBIAN, Type: 'String', Value: newest, Version: 2, LastModifiedDate: new Date(NOW_MS + 2),
      ARN: `arn:aws:ssm:us-east-1::parameter${DEBIAN}`, DataType: 'aws:ec2:image',
    })
    expect(await get('/aws/service/debian/daily/bookworm/latest/amd64')).toMatchObject({ Value: newest })
    expect(remarks).toEqual([])
  })

  it('is another image where there is none of the system, which the log says', async () => {
    const tiny = await add('tiny', 1)
    expect(await get(DEBIAN)).toMatchObject({ Value: tiny.image_id, Version: 1 })
    const debian = await add('debian-12', 2)
    for (const name of [AMAZON, UBUNTU, UBUNTU.replace('24.04', 'noble')]) {
      expect(await get(name)).toMatchObject({ Value: debian.image_id })
    }
    expect(remarks).toEqual([
      `hearth-tiny-1 (${tiny.image_id}) stands in for debian-12 at ${DEBIAN}`,
      `hearth-debian-12-2 (${debian.image_id}) stands in for amazon-linux-2023 at ${AMAZON}`,
      `hearth-debian-12-2 (${debian.image_id}) stands in for ubuntu-24.04 at ${UBUNTU}`,
      `hearth-debian-12-2 (${debian.image_id}) stands in for ubuntu-24.04 at ${UBUNTU.replace('24.04', 'noble')}`,
    ])
    const ubuntu = await add('ubuntu-24.04', 1)
    expect(await get(UBUNTU)).toMatchObject({ Value: ubuntu.image_id })
  })

  it('takes no image that cannot be launched, or that a user made', async () => {
    await add('debian-12', 3, { state: 'pending' })
    await add('debian-12', 3, { architecture: 'arm64' })
    await add('debian-12', 3, { account_id: '123456789012' })
    await add('debian-12', 3, { is_public: 0 })
    await add(null, 3)
    expect(await failure(get(DEBIAN))).toBe('400 ParameterNotFound')
  })

  it('has versions, a label and an ARN', async () => {
    const [first, second] = [await add('debian-12', 1), await add('debian-12', 2)]
    expect(await get(`${DEBIAN}:1`)).toMatchObject({ Name: DEBIAN, Value: first.image_id, Version: 1, Selector: ':1' })
    expect(await get(`${DEBIAN}:latest`)).toMatchObject({ Value: second.image_id, Selector: ':latest' })
    expect(await get(`arn:aws:ssm:us-east-1::parameter${DEBIAN}:2`)).toMatchObject({ Name: DEBIAN, Value: second.image_id })
    for (const selector of ['3', '0', '', '-1', '01', 'stable']) {
      expect(await failure(get(`${DEBIAN}:${selector}`)), selector).toBe('400 ParameterVersionNotFound')
    }
  })

  it.each([
    ['/aws/service/debian/release/12/latest/arm64', '400 ParameterNotFound'],
    ['/my/parameter', '400 ParameterNotFound'],
    ['__proto__', '400 ParameterNotFound'],
    [`${DEBIAN}:1:2`, '400 ParameterNotFound'],
    [`arn:aws:ssm:eu-west-1::parameter${DEBIAN}`, '400 ParameterNotFound'],
    ['', '400 ValidationException'],
    ['a'.repeat(2049), '400 ValidationException'],
  ])('%s is %s', async (name, expected) => {
    await add('debian-12', 1)
    expect(await failure(get(name))).toBe(expected)
  })
})

describe('GetParameters', () => {
  it('tells what it found and what it did not', async () => {
    const { image_id: id } = await add('debian-12', 1)
    const answer = await run((context) => getParameters(context, { Names: [DEBIAN, '/x', AMAZON, DEBIAN, `${DEBIAN}:9`] }))
    expect(answer).toMatchObject({
      Parameters: [{ Name: DEBIAN, Value: id }, { Name: AMAZON, Value: id }], InvalidParameters: ['/x', `${DEBIAN}:9`],
    })
  })

  it('takes one name to ten', async () => {
    for (const Names of [[], Array.from({ length: 11 }, (_, index) => `/${index}`), ['']]) {
      expect(await failure(run((context) => getParameters(context, { Names })))).toBe('400 ValidationException')
    }
  })
})

describe('GetParametersByPath', () => {
  it('has the names of a level, page by page', async () => {
    await add('tiny', 1)
    const names: string[] = []
    let NextToken: string | undefined
    do {
      const input = { Path: '/aws/service/ami-amazon-linux-latest', MaxResults: 6 }
      const page = await byPath({ ...input, ...(NextToken ? { NextToken } : {}) })
      expect(page.Parameters?.length).toBeLessThanOrEqual(6)
      names.push(...(page.Parameters ?? []).map((each) => each.Name ?? ''))
      NextToken = page.NextToken
    } while (NextToken)
    expect(names).toContain(AMAZON)
    expect(names).toEqual(names.toSorted())
    expect(new Set(names).size).toBe(14)
  })

  it('has those below with Recursive only', async () => {
    await add('tiny', 1)
    expect((await byPath({ Path: '/aws/service/debian/' })).Parameters).toEqual([])
    expect((await byPath({ Path: '/aws/service/debian/', Recursive: true })).Parameters).toHaveLength(10)
    expect((await byPath({ Path: '/aws/service/deb', Recursive: true })).Parameters).toEqual([])
    expect((await byPath({ Path: '/', Recursive: true })).Parameters).toEqual([])
  })

  it('is empty while there is no image', async () => {
    expect(await byPath({ Recursive: true })).toEqual({ Parameters: [] })
  })

  it.each([
    [{ Path: 'aws' }, 'ValidationException'],
    [{ MaxResults: 11 }, 'ValidationException'],
    [{ MaxResults: 0 }, 'ValidationException'],
    [{ NextToken: 'x' }, 'InvalidNextToken'],
    [{ ParameterFilters: [{ Key: 'Type' }] }, 'UnsupportedOperation'],
  ])('%j is %s', async (input, code) => {
    expect(await failure(byPath(input))).toBe(`400 ${code}`)
  })
})

describe('resolve:ssm:', () => {
  it('means the value of the parameter; any other id means itself', async () => {
    const { image_id: id } = await add('debian-12', 1)
    const resolve = (imageId: string) => run((context) => resolveImageId(context, imageId))
    expect(await resolve(`resolve:ssm:${DEBIAN}`)).toBe(id)
    expect(await resolve(`resolve:ssm:${DEBIAN}:1`)).toBe(id)
    expect(await resolve('ami-1')).toBe('ami-1')
    expect(await failure(resolve('resolve:ssm:/x'))).toBe('400 InvalidParameterValue')
  })
})
