import { createServer, connect, type Socket } from 'node:net'
import path from 'node:path'

/** Stands between a store and its PostgreSQL, and can cut the wire where a test wants it. */
export interface PostgresProxy {
  /** Folder of its socket, for `urlOf`. */
  socket: string
  /** Cuts the connection on which the next COMMIT comes by: before the server has it, or before it has answered. */
  cutAtCommit: (when: 'before' | 'after') => void
  close: () => Promise<void>
}

/** Starts one in `folder` in front of the server whose socket is in `server`. */
export async function startProxy(folder: string, server: string): Promise<PostgresProxy> {
  let cut: 'before' | 'after' | undefined
  const open = new Set<Socket>()
  const listener = createServer((client) => {
    const upstream = connect(path.join(server, '.s.PGSQL.5432'))
    let isCutting = false
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.on('close', () => {
        open.delete(socket)
        end()
      })
      socket.on('error', end)
    }
    client.on('data', (data) => {
      if (cut !== undefined && data.includes('commit\0')) {
        isCutting = true
        if (cut === 'before') end()
        else upstream.write(data)
        cut = undefined
        return
      }
      upstream.write(data)
    })
    upstream.on('data', (data) => {
      if (isCutting) end()
      else client.write(data)
    })
  })
  await new Promise<void>((resolve) => listener.listen(path.join(folder, '.s.PGSQL.5432'), resolve))
  return {
    socket: folder,
    cutAtCommit: (when) => void (cut = when),
    async close() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}
