// Writes docs/coverage.md: which operations are there, which of their parameters are refused, and
// what is missing. `--check` writes nothing and fails when the page is not what it should be.
//
// Nothing here is kept by hand. What exists comes from generated/*.json (AWS's own model), what is
// there from the tables of operations in src/*/index.ts, and what is refused from the code that
// each operation can reach: esbuild bundles it by itself, without what it does not use.
import { build } from 'esbuild'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
// Makes generated/ current.
import './build.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const page = path.join(root, 'docs/coverage.md')
const services = [
  { name: 'ec2', title: 'EC2' },
  { name: 'sts', title: 'STS' },
  { name: 'iam', title: 'IAM' },
  { name: 'ssm', title: 'Systems Manager' },
  { name: 'rbin', title: 'Recycle Bin' },
  { name: 'ec2-instance-connect', title: 'EC2 Instance Connect' },
]

/** Topics of the operations of EC2 that are missing; the first that matches has it. */
const topics = [
  ['Transit gateways', /TransitGateway/],
  ['IP address management', /Ipam|Byoip|Ipv[46]Pool/],
  ['Verified Access', /VerifiedAccess/],
  ['VPN', /Vpn|CustomerGateway/],
  ['Local gateways and Outposts', /LocalGateway|Coip|OutpostLag|ServiceLinkVirtualInterface/],
  ['Route servers', /RouteServer/],
  ['Traffic mirroring and flow logs', /TrafficMirror|FlowLog/],
  ['Network analysis', /NetworkInsights|NetworkPerformance|Reachability/],
  ['Capacity reservations', /Capacity/],
  ['Reserved Instances and Dedicated Hosts', /Reserved|Hosts?(Reservation|$)|Mac[A-Z]/],
  ['Spot and fleets', /Spot|Fleet/],
  ['Launch templates', /LaunchTemplate/],
  ['Endpoints and endpoint services', /Endpoint/],
  ['VPC peering and ClassicLink', /Peering|ClassicLink/],
  ['Prefix lists', /PrefixList/],
  ['Security groups', /SecurityGroup/],
  ['Network interfaces', /Interface|PrivateIp|Ipv6Address|PrivateNatGatewayAddress/],
  ['Addresses', /Address/],
  ['Route tables and gateways', /Route|InternetGateway|NatGateway|CarrierGateway/],
  ['Network ACLs', /NetworkAcl/],
  ['VPCs and subnets', /Vpc|Subnet|DhcpOptions|SecondaryNetwork/],
  ['Key pairs', /KeyPair/],
  ['Images', /Image/],
  ['Volumes and snapshots', /Volume|Snapshot|Ebs/],
  ['Instances', /Instance|Console|PasswordData|ElasticGpu|BundleTask/],
  ['Placement groups', /PlacementGroup/],
  ['Regions, zones and account', /Region|Zone|Account|IdFormat/],
  ['Tags', /Tag/],
]

/** Bundles `entry` (code, as if it stood in the root) into one module. */
async function bundle(entry) {
  const result = await build({
    stdin: { contents: entry, resolveDir: root, loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
  })
  return result.outputFiles[0].text
}

/** Names in a service's table of operations. */
async function implementedOperations(service) {
  const file = path.join(root, 'dist', `coverage-${service}.js`)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, await bundle(`export { operations } from './src/${service}/index.ts'`))
  const { operations } = await import(pathToFileURL(file).href)
  return Object.keys(operations).toSorted()
}

/** Names of all operations that the service has in AWS. */
function existingOperations(service) {
  const model = JSON.parse(readFileSync(path.join(root, `generated/${service}.json`), 'utf8'))
  return Object.keys(model.operations).toSorted()
}

/** Where each exported function of a service is: runInstances to src/ec2/run-instances.ts. */
function exportedFunctions(service) {
  const files = new Map()
  for (const name of readdirSync(path.join(root, 'src', service))) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue
    const file = `src/${service}/${name}`
    const code = readFileSync(path.join(root, file), 'utf8')
    for (const [, name] of code.matchAll(/^export (?:async )?function (\w+)/gm)) files.set(name, file)
  }
  return files
}

/** What an operation refuses as not supported, by the words of its error. */
async function refusedParameters(operation, functions) {
  const handler = operation[0].toLowerCase() + operation.slice(1)
  if (!functions.has(handler)) throw new Error(`${operation}: no exported function ${handler} beside its index.ts`)
  const exports = [handler, `prepare${operation}`].filter((name) => functions.has(name))
  const code = await bundle(exports.map((name) => `export { ${name} } from './${functions.get(name)}'`).join('\n'))
  return [...new Set([...refusedByName(operation, code), ...refusedByText(code)])].toSorted()
}

/** Names given to refuseParameters: a list of literals, or a constant that is one. */
function refusedByName(operation, code) {
  return code.split(/(?<!function )\brefuseParameters\(/).slice(1).flatMap((call) => {
    const list = /^[^,]*,\s*(\[|\w+)/.exec(call)?.[1]
    const array = list === '[' ? call : new RegExp(`\\b${list} = (\\[[^\\]]*\\])`).exec(code)?.[1]
    if (array === undefined) throw new Error(`${operation}: give refuseParameters a list of literals, not ${list}`)
    return literalsOf(array)
  })
}

/** Texts given to unsupportedParameter; a variable of a loop over literals stands for each of them. */
function refusedByText(code) {
  return [...code.matchAll(/\bunsupportedParameter\(\s*["`]([^"`]+)["`]/g)].flatMap(({ 1: text, index }) => {
    const variable = /\$\{(\w+)\}/.exec(text)?.[1]
    const loop = code.slice(0, index).split(`for (const ${variable} of [`).at(-1)
    const isLooped = variable !== undefined && loop.length < Math.min(index, LOOP_CHARACTERS)
    const texts = isLooped ? literalsOf(`[${loop}`).map((each) => text.replace(`\${${variable}}`, each)) : [text]
    return texts.map((each) => each.replaceAll(/\$\{[^}]*\}/g, '…'))
  })
}

/** A loop whose list begins farther back than this is another loop. */
const LOOP_CHARACTERS = 1000

/** The strings of the array literal that `code` begins with or holds first. */
function literalsOf(code) {
  const array = /\[([^\]]*)\]/.exec(code)?.[1] ?? ''
  return [...array.matchAll(/"([^"]+)"/g)].map((match) => match[1])
}

async function serviceSection({ name, title }) {
  const existing = existingOperations(name)
  const implemented = await implementedOperations(name)
  const unknown = implemented.filter((operation) => !existing.includes(operation))
  if (unknown.length > 0) throw new Error(`src/${name}/index.ts has operations that AWS has not: ${unknown.join(', ')}`)
  const functions = exportedFunctions(name)
  const rows = []
  for (const operation of implemented) {
    const refused = await refusedParameters(operation, functions)
    rows.push(`| ${operation} | ${refused.map((each) => `\`${each}\``).join(', ')} |`)
  }
  const missing = existing.filter((operation) => !implemented.includes(operation))
  return [
    `## ${title}: ${implemented.length} of ${existing.length} operations`,
    '',
    '| Operation | Refused so far |',
    '| - | - |',
    ...rows,
    '',
    `### Missing in ${title}: ${missing.length}`,
    '',
    ...(name === 'ec2' ? missingByTopic(missing) : [missing.join(', ')]),
  ].join('\n')
}

function missingByTopic(missing) {
  const groups = new Map()
  for (const operation of missing) {
    const topic = topics.find(([, pattern]) => pattern.test(operation))?.[0] ?? 'Other'
    groups.set(topic, [...(groups.get(topic) ?? []), operation])
  }
  return [...groups.keys()].toSorted().map((topic) => {
    const operations = groups.get(topic)
    return `- **${topic}** (${operations.length}): ${operations.join(', ')}`
  })
}

async function coveragePage() {
  const sections = []
  for (const service of services) sections.push(await serviceSection(service))
  return `# Coverage

Made by \`npm run coverage\`; do not edit. Every operation of the services below is known by name, and what is
there is parsed and checked against AWS's own model. What is not answers \`UnsupportedOperation\`, and so do
the parameters in the second column when a call gives them a value: Hearth understands them but does
not honour them yet, and dropping them silently would be a lie.

${sections.join('\n\n')}
`
}

const isCheck = process.argv.includes('--check')
const wanted = await coveragePage()
if (!isCheck) {
  writeFileSync(page, wanted)
} else {
  let present = ''
  try {
    present = readFileSync(page, 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  if (present !== wanted) {
    console.error('docs/coverage.md is stale; run `npm run coverage` and commit it')
    process.exit(1)
  }
}
