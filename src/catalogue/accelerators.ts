import type { InstanceTypeInfo } from '@aws-sdk/client-ec2'

/** What a type has beside its processors, in the words of InstanceRequirements. */
export interface Accelerator {
  type: 'gpu' | 'fpga' | 'inference' | 'media'
  /** nvidia, amazon-web-services */
  manufacturer: string
  /** t4g, radeon-pro-v520 */
  name: string
  count: number
  /** Of each. */
  memoryMib: number
}

/** One device of the catalogue; all kinds have these members. */
interface Device {
  Count?: number | undefined
  Manufacturer?: string | undefined
  Name?: string | undefined
  MemoryInfo?: { SizeInMiB?: number | undefined } | undefined
}

/** The accelerators of a type. */
export function acceleratorsOf(info: Readonly<InstanceTypeInfo>): Accelerator[] {
  const { GpuInfo: gpu, FpgaInfo: fpga, InferenceAcceleratorInfo: inference, MediaAcceleratorInfo: media, NeuronInfo: neuron } = info
  // Newer chips of AWS's own are listed under their other name only.
  const own: Device[] = (neuron?.NeuronDevices ?? []).map((each) => ({ Manufacturer: 'AWS', ...each }))
  return [
    ...named('gpu', gpu?.Gpus), ...named('fpga', fpga?.Fpgas), ...named('inference', inference?.Accelerators ?? own),
    ...named('media', media?.Accelerators),
  ]
}

function named(type: Accelerator['type'], devices: readonly Device[] = []): Accelerator[] {
  return devices.map((device) => ({
    type, manufacturer: makerName(device.Manufacturer), name: chipName(device.Name), count: device.Count ?? 0,
    memoryMib: device.MemoryInfo?.SizeInMiB ?? 0,
  }))
}

/** "AWS" is amazon-web-services, of processors, too. */
export function makerName(manufacturer = ''): string {
  return manufacturer === 'AWS' ? 'amazon-web-services' : manufacturer.toLowerCase()
}

/** "Virtex UltraScale+ (VU9P)" is vu9p. */
function chipName(name = ''): string {
  return (/\((.+)\)$/.exec(name)?.[1] ?? name).toLowerCase().replaceAll(' ', '-')
}
