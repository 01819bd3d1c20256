/**
 * Answers DHCP, names, the time and metadata inside the VPCs' network namespaces. Every method may be called
 * again at any time; opening what is open as asked changes nothing.
 */
export interface VpcServicesServer {
  /**
   * Opens the services of a VPC in the network namespace at `netnsPath`: DHCP, DNS on the given
   * addresses (none in a VPC without a resolver), NTP where its address is given, and the metadata
   * service. The addresses must be there.
   */
  open(
    vpcId: string,
    netnsPath: string,
    listen: { dhcp: true; dns: string[]; metadata: '169.254.169.254'; ntp?: '169.254.169.123' },
  ): Promise<void>
  /** Closes the services of one VPC. */
  close(vpcId: string): Promise<void>
  /** Closes the services of every VPC. */
  closeAll(): Promise<void>
}
