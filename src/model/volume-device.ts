/**
 * Device names of data volumes on HVM instances, with or without /dev/. Names with a number are
 * for the root device only.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
 */
const DATA_DEVICE = /^(\/dev\/)?(sd[b-z]|xvd[b-z]|xvd[a-d][a-z])$/

/** Whether a volume beside the root may have that device name. */
export function isDataDevice(deviceName: string): boolean {
  return DATA_DEVICE.test(deviceName)
}

/** /dev/sdb, sdb, /dev/xvdb and xvdb are one device to EC2. */
export function canonicalDevice(deviceName: string): string {
  return deviceName.replace(/^\/dev\//, '').replace(/^sd/, 'xvd')
}

/** Whether two device names mean one device. */
export function isSameDevice(a: string | null, b: string | null): boolean {
  return a !== null && b !== null && canonicalDevice(a) === canonicalDevice(b)
}
