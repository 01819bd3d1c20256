# An image with a page in it, baked of the newest tiny image by a machine of its own, encrypted, and copied to a second region.
#
#   packer build shop.pkr.hcl        # the endpoint and the keys come from `hearth env`

variable "endpoint" {
  type    = string
  default = env("AWS_ENDPOINT_URL")
}

# Regions beside the home region, as with `hearth up --more-regions eu-west-1`.
variable "copies" {
  type    = list(string)
  default = []
}

# "auto" bakes on a spot instance.
variable "spot_price" {
  type    = string
  default = ""
}

source "amazon-ebs" "shop" {
  # Packer knows no AWS_ENDPOINT_URL.
  custom_endpoint_ec2 = var.endpoint
  region              = "us-east-1"
  ami_name            = "shop-{{timestamp}}"
  ami_regions         = var.copies
  encrypt_boot        = true

  instance_type       = var.spot_price == "" ? "t3.nano" : null
  spot_price          = var.spot_price
  spot_instance_types = var.spot_price == "" ? null : ["t3.nano", "t3a.nano"]

  source_ami_filter {
    owners      = ["amazon"]
    most_recent = true
    filters = {
      name         = "hearth-tiny-*"
      architecture = "x86_64"
    }
  }

  ssh_username = "root"

  ami_block_device_mappings {
    device_name           = "/dev/sdf"
    volume_size           = 1
    volume_type           = "gp2"
    delete_on_termination = true
  }

  run_tags = { Name = "packer builds shop" }
  tags     = { Name = "shop", Base = "{{ .SourceAMI }}" }
}

build {
  sources = ["source.amazon-ebs.shop"]

  provisioner "shell" {
    inline = [
      "mkdir -p /srv",
      "echo '<h1>baked</h1>' >/srv/index.html",
      # This guest has no agent to freeze its file systems; StopInstances, which Packer calls, shuts it down in order.
      "sync",
    ]
  }
}
