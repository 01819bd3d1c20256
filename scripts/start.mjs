// `npm start`: set-up, then `hearth up` with the arguments given (npm start -- --engine sim).
//
// `hearth up` runs in this very process, so that a signal has one receiver and Ctrl-C ends
// everything once.
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { orExplain, setup } from './setup.mjs'

const words = process.argv.slice(2)
const isHelp = words.includes('--help') || words.includes('-h')
await orExplain(() => setup(isHelp ? [...words, '--engine=sim'] : words, { isStart: true }))
const hearth = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'bin/hearth')
process.argv = [process.argv[0], hearth, 'up', ...words]
await import(hearth)
