# A VPC with a public subnet in every zone, and in each a machine that serves its zone's name on port 80.
#
#   terraform init && terraform apply        # AWS_ENDPOINT_URL and the keys come from `hearth env`
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.62"
    }
  }
}

provider "aws" {}

variable "public_key" {
  description = "The SSH key that opens the machines."
  type        = string
  default     = "~/.ssh/id_ed25519.pub"
}

variable "instance_type" {
  description = "A change of it stops the machines, changes them and starts them again."
  type        = string
  default     = "t3.nano"
}

data "aws_availability_zones" "up" {
  state = "available"
}

data "aws_ami" "tiny" {
  owners      = ["amazon"]
  most_recent = true

  filter {
    name   = "name"
    values = ["hearth-tiny-*"]
  }

  filter {
    name   = "architecture"
    values = ["x86_64"]
  }
}

locals {
  zones = toset(data.aws_availability_zones.up.names)
}

resource "aws_vpc" "shop" {
  cidr_block = "10.41.0.0/16"
  tags       = { Name = "shop" }
}

resource "aws_internet_gateway" "shop" {
  vpc_id = aws_vpc.shop.id
}

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id                  = aws_vpc.shop.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(aws_vpc.shop.cidr_block, 8, index(sort(local.zones), each.key))
  map_public_ip_on_launch = true
  tags                    = { Name = "shop-${each.key}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.shop.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.shop.id
  }
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "shop" {
  name   = "shop"
  vpc_id = aws_vpc.shop.id

  dynamic "ingress" {
    for_each = toset([22, 80])
    content {
      protocol    = "tcp"
      from_port   = ingress.value
      to_port     = ingress.value
      cidr_blocks = ["0.0.0.0/0"]
    }
  }

  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_key_pair" "shop" {
  key_name   = "shop-terraform"
  public_key = file(pathexpand(var.public_key))
}

resource "aws_placement_group" "shop" {
  name     = "shop"
  strategy = "spread"
}

resource "aws_instance" "shop" {
  for_each = local.zones

  ami                    = data.aws_ami.tiny.id
  instance_type          = var.instance_type
  subnet_id              = aws_subnet.public[each.key].id
  vpc_security_group_ids = [aws_security_group.shop.id]
  key_name               = aws_key_pair.shop.key_name
  placement_group        = aws_placement_group.shop.name
  tags                   = { Name = "shop-${each.key}" }

  user_data = <<-EOT
    #!/bin/sh
    mkdir -p /srv
    echo "${each.key}" >/srv/index.html
    httpd -h /srv
  EOT

  metadata_options {
    http_tokens = "required"
  }
}

resource "aws_ebs_volume" "data" {
  for_each = local.zones

  availability_zone = each.key
  size              = 1
  type              = "gp3"
  encrypted         = true
}

resource "aws_volume_attachment" "data" {
  for_each = local.zones

  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = aws_instance.shop[each.key].id
}

output "pages" {
  value = { for zone, machine in aws_instance.shop : zone => "http://${machine.public_ip}/" }
}
