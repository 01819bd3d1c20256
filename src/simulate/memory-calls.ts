/** More than the memory of every type that is launched, and than any snapshot of a simulated guest's root. */
const ROOT_SIZE_GIB = 16

/** What a launch has to say for its instances to be hibernated later. */
export function drawHibernatable(image: { root_device_name: string }) {
  return {
    HibernationOptions: { Configured: true },
    BlockDeviceMappings: [{ DeviceName: image.root_device_name, Ebs: { VolumeSize: ROOT_SIZE_GIB, Encrypted: true } }],
  }
}
