// Inputs and outputs as AWS's model of EC2 Instance Connect has them, of whose client no version is here.

export interface SendSSHPublicKeyRequest {
  InstanceId?: string
  InstanceOSUser?: string
  SSHPublicKey?: string
  AvailabilityZone?: string
}

export interface SendSerialConsoleSSHPublicKeyRequest {
  InstanceId?: string
  SerialPort?: number
  SSHPublicKey?: string
}

export interface SendKeyResponse {
  RequestId: string
  Success: boolean
}
