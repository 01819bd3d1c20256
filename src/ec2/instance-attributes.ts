import type {
  DescribeInstanceAttributeRequest, Instance, InstanceAttribute, InstanceAttributeName,
} from '@aws-sdk/client-ec2'
import { instanceDoc, type InstanceDoc } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requireInstance } from './instance-rows.ts'
import { loadInstances } from './load-instances.ts'
import { checkEnum, missingParameter } from './parameters.ts'

/** Every attribute of an instance, by its name in Attribute parameters. */
export const ATTRIBUTE_NAMES = [
  'instanceType', 'kernel', 'ramdisk', 'userData', 'disableApiTermination', 'instanceInitiatedShutdownBehavior',
  'rootDeviceName', 'blockDeviceMapping', 'productCodes', 'sourceDestCheck', 'groupSet', 'ebsOptimized',
  'sriovNetSupport', 'enaSupport', 'enclaveOptions', 'disableApiStop',
] as const satisfies readonly InstanceAttributeName[]

/** DescribeInstanceAttribute: the instance's id and the one attribute; what has no value is an empty element. */
export async function describeInstanceAttribute(
  context: Context,
  input: DescribeInstanceAttributeRequest,
): Promise<InstanceAttribute> {
  const name = checkEnum('attribute', input.Attribute, ATTRIBUTE_NAMES)
  if (name === undefined) throw missingParameter('attribute')
  const row = await requireInstance(context, input.InstanceId)
  const [instance] = await loadInstances(context.db, context.region, [row])
  if (!instance) throw new Error(`${row.instance_id}: its wire form is missing`)
  return { InstanceId: row.instance_id, ...ATTRIBUTES[name]({ row, doc: instanceDoc(row), instance }) }
}

interface AttributeSource {
  row: InstanceTable
  doc: InstanceDoc
  instance: Instance
}

const ATTRIBUTES: Record<(typeof ATTRIBUTE_NAMES)[number], (source: AttributeSource) => Omit<InstanceAttribute, 'InstanceId'>> = {
  instanceType: ({ row }) => ({ InstanceType: { Value: row.instance_type } }),
  // Only paravirtual instances have a kernel and a RAM disk of their own.
  kernel: () => ({ KernelId: {} }),
  ramdisk: () => ({ RamdiskId: {} }),
  userData: ({ doc }) => ({ UserData: doc.userData === null ? {} : { Value: doc.userData } }),
  disableApiTermination: ({ doc }) => ({ DisableApiTermination: { Value: doc.options.disableApiTermination } }),
  instanceInitiatedShutdownBehavior: ({ doc }) => ({ InstanceInitiatedShutdownBehavior: { Value: doc.shutdownBehavior } }),
  rootDeviceName: ({ doc }) => ({ RootDeviceName: { Value: doc.rootDeviceName } }),
  blockDeviceMapping: ({ instance }) => ({ BlockDeviceMappings: instance.BlockDeviceMappings ?? [] }),
  productCodes: ({ instance }) => ({ ProductCodes: instance.ProductCodes ?? [] }),
  sourceDestCheck: ({ instance }) => ({ SourceDestCheck: { Value: instance.SourceDestCheck ?? true } }),
  groupSet: ({ instance }) => ({ Groups: instance.SecurityGroups ?? [] }),
  ebsOptimized: ({ instance }) => ({ EbsOptimized: { Value: instance.EbsOptimized ?? false } }),
  sriovNetSupport: ({ instance }) => ({
    SriovNetSupport: instance.SriovNetSupport === undefined ? {} : { Value: instance.SriovNetSupport },
  }),
  enaSupport: ({ instance }) => ({ EnaSupport: { Value: instance.EnaSupport ?? false } }),
  enclaveOptions: ({ instance }) => ({ EnclaveOptions: { Enabled: instance.EnclaveOptions?.Enabled ?? false } }),
  disableApiStop: ({ doc }) => ({ DisableApiStop: { Value: doc.options.disableApiStop } }),
}
