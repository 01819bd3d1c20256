import { CommanderError } from 'commander'
import { messageOf } from '../core/errors.ts'
import { createProgram } from './program.ts'
import { processTerminal } from './terminal.ts'

// A reader that has seen enough (hearth status | head) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

try {
  await createProgram(processTerminal).parseAsync(process.argv)
  process.exit()
} catch (error) {
  // Commander has said by then what is wrong with the command line.
  if (error instanceof CommanderError) process.exit(error.exitCode)
  processTerminal.say(`hearth: ${messageOf(error)}`)
  if (process.env.HEARTH_DEBUG && error instanceof Error) processTerminal.say(String(error.stack))
  process.exit(1)
}
