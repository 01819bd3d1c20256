/** A launch template; names are unique in an account, versions are numbered from 1 and no number is used twice. */
export interface LaunchTemplateTable {
  template_id: string
  account_id: string
  name: string
  default_version: number
  /** The highest that is there. */
  latest_version: number
  next_version: number
  created_ms: number
  doc: string
}

/** One version of a launch template; it never changes. */
export interface LaunchTemplateVersionTable {
  template_id: string
  version: number
  created_ms: number
  doc: string
}
