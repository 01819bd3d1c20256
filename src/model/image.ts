/** What of an image SQL never looks into. */
export interface ImageDoc {
  description: string
  /** Name of the recipe that Hearth built it from; null for images that users made. */
  recipe: string | null
  /** Smallest root volume it fits on. */
  sizeGib: number
  bootMode: 'legacy-bios' | 'uefi'
  /** The user that SSH lets in. */
  sshUser: string
  /** 'v2.0' makes IMDSv2 required by default. */
  imdsSupport: 'v2.0' | null
}

/** The doc of an image row. */
export function imageDoc(row: { doc: string }): ImageDoc {
  return JSON.parse(row.doc) as ImageDoc
}
