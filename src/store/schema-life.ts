/** What a terminated instance had, kept so that it can be had again until `exit_ms`. */
export interface InstanceBackupTable {
  instance_id: string
  account_id: string
  terminated_ms: number
  exit_ms: number
  doc: string
}

/** Something that is planned for an instance (DescribeInstanceStatus, Events). */
export interface InstanceEventTable {
  event_id: string
  account_id: string
  instance_id: string
  code: 'instance-reboot' | 'system-reboot' | 'system-maintenance' | 'instance-retirement' | 'instance-stop'
  state: 'scheduled' | 'completed' | 'canceled'
  not_before_ms: number
  created_ms: number
  doc: string
}

/** A public key of EC2 Instance Connect: good for a minute. */
export interface PushedKeyTable {
  key_id: string
  account_id: string
  instance_id: string
  /** For SSH to the guest as `os_user`, or for the serial console (then '' is the user). */
  kind: 'ssh' | 'serial'
  os_user: string
  /** A line of authorized_keys without a comment. */
  public_key: string
  /**
   * `pending`: the agent has not come to it. `asked`: it may be in the guest. `present`: it lets in. `unavailable`: nothing
   * in the guest takes keys; `refused`: the guest does not take it; `busy`: somebody else sits at the serial console. These
   * three are not in the guest and wait for whoever asked.
   */
  state: 'pending' | 'asked' | 'present' | 'unavailable' | 'refused' | 'busy'
  expires_ms: number
}
