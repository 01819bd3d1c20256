import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { packageRoot } from '../core/package-root.ts'
import { loadServiceModel } from './model.ts'

describe('loadServiceModel', () => {
  it('has all operations', () => {
    expect(loadServiceModel('ec2').operationNames().length).toBeGreaterThanOrEqual(823)
    expect(loadServiceModel('sts').operationNames()).toContain('GetCallerIdentity')
    expect(loadServiceModel('ec2')).toMatchObject({ protocol: 'ec2Query', apiVersion: '2016-11-15' })
    expect(loadServiceModel('sts')).toMatchObject({ protocol: 'awsQuery', apiVersion: '2011-06-15' })
  })

  it('names a member as the SDK, the form and XML do', () => {
    const run = loadServiceModel('ec2').operation('RunInstances')
    const byName = new Map(run?.input?.members.map((member) => [member.name, member]))
    expect(byName.get('MinCount')).toMatchObject({ queryName: 'MinCount', required: true, shape: 'number' })
    expect(byName.get('SecurityGroupIds')).toMatchObject({ queryName: 'SecurityGroupId', required: false, shape: { kind: 'list' } })
    const instances = run?.output?.members.find(({ name }) => name === 'Instances')
    expect(instances).toMatchObject({ xmlName: 'instancesSet', shape: { kind: 'list', xmlName: 'item' } })
  })

  it('knows no operation but those', () => {
    const model = loadServiceModel('ec2')
    for (const name of ['', 'runInstances', '__proto__', 'constructor', 'GetCallerIdentity']) {
      expect(model.operation(name)).toBeUndefined()
    }
  })
})

describe('generate-models', () => {
  const script = path.join(packageRoot(), 'scripts/generate-models.mjs')

  it('imports no SDK when what it made is current', () => {
    const code = `import { generateModels } from ${JSON.stringify(script)}; await generateModels()
      console.log(Object.keys((await import('node:module')).default._cache).filter((file) => file.includes('aws-sdk')).length)`
    const file = path.join(packageRoot(), 'generated/ec2.json')
    const before = statSync(file).mtimeMs
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }).trim()).toBe('0')
    expect(statSync(file).mtimeMs).toBe(before)
  })

  it('is the only file through which the SDK comes in: the wire has types of it at most', () => {
    const folder = path.join(packageRoot(), 'src/protocol')
    const sources = readdirSync(folder).filter((name) => !name.endsWith('.test.ts'))
    expect(sources).toContain('server.ts')
    for (const name of sources) {
      expect(readFileSync(path.join(folder, name), 'utf8'), name).not.toMatch(/^import (?!type).*@(aws-sdk|smithy)/m)
    }
  })
})
