import type { TestProject } from 'vitest/node'
import { makeTemplate, startPostgres, type PostgresServer } from './support/postgres.ts'

// Projects load this file each for themselves, so what they share is kept beyond it.
const shared = globalThis as { hearthPostgres?: { users: number; server: Promise<PostgresServer | undefined> } }

/** One PostgreSQL for all projects of a run that have tests on it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const holder = (shared.hearthPostgres ??= { users: 0, server: start() })
  holder.users += 1
  const server = await holder.server
  project.provide('postgresSocket', server?.socket)
  return async () => {
    holder.users -= 1
    if (holder.users > 0) return
    delete shared.hearthPostgres
    await server?.stop()
  }
}

async function start(): Promise<PostgresServer | undefined> {
  const server = await startPostgres()
  if (server) await makeTemplate(server.socket)
  return server
}
