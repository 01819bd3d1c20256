import type { LaunchTemplate, LaunchTemplateVersion, RequestLaunchTemplateData, ResponseLaunchTemplateData, Tag } from '@aws-sdk/client-ec2'
import type { LaunchTemplateTable, LaunchTemplateVersionTable } from '../store/schema.ts'

/** What of a template, and of each of its versions, SQL never looks into. */
export interface LaunchTemplateDoc {
  /** ARN of who made it. */
  createdBy: string
}

export interface LaunchTemplateVersionDoc extends LaunchTemplateDoc {
  description: string | null
  data: RequestLaunchTemplateData
}

/** The doc of a version's row. */
export function versionDoc(row: Pick<LaunchTemplateVersionTable, 'doc'>): LaunchTemplateVersionDoc {
  const doc = JSON.parse(row.doc) as LaunchTemplateVersionDoc
  // The only time among a template's data; JSON makes a text of it.
  const spot = doc.data.InstanceMarketOptions?.SpotOptions
  if (spot?.ValidUntil) spot.ValidUntil = new Date(spot.ValidUntil)
  return doc
}

/** A template as DescribeLaunchTemplates shows it. */
export function launchTemplateToWire(row: LaunchTemplateTable, tags: Tag[]): LaunchTemplate {
  return {
    LaunchTemplateId: row.template_id, LaunchTemplateName: row.name, CreateTime: new Date(row.created_ms),
    CreatedBy: (JSON.parse(row.doc) as LaunchTemplateDoc).createdBy, DefaultVersionNumber: row.default_version,
    LatestVersionNumber: row.latest_version, Tags: tags, Operator: { Managed: false },
  }
}

/** A version as DescribeLaunchTemplateVersions shows it. */
export function launchTemplateVersionToWire(template: LaunchTemplateTable, row: LaunchTemplateVersionTable): LaunchTemplateVersion {
  const { createdBy, description, data } = versionDoc(row)
  return {
    LaunchTemplateId: template.template_id, LaunchTemplateName: template.name, VersionNumber: row.version,
    VersionDescription: description ?? undefined, CreateTime: new Date(row.created_ms), CreatedBy: createdBy,
    DefaultVersion: row.version === template.default_version, LaunchTemplateData: dataToWire(data), Operator: { Managed: false },
  }
}

/** What is asked for is shown as it was asked for: both shapes have the same members. */
function dataToWire(data: RequestLaunchTemplateData): ResponseLaunchTemplateData {
  return data as ResponseLaunchTemplateData
}
