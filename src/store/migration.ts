/** What is to be said to each database in its own words. */
export type DialectStatements = Record<'sqlite' | 'postgres', string[]>

/** One step of the schema; never edited once released, only followed by another. */
export interface Migration {
  name: string
  statements: (string | DialectStatements)[]
}
