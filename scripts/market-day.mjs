// npm run market-day -- [--seed N] [--pricing auction|smoothed] [--out FILE]
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from './bundle.mjs'

await bundle({ 'market-day': path.join(root, 'src/simulate/market-day-main.ts') })
const program = path.join(root, 'dist/market-day.js')
const child = spawn(process.execPath, ['--enable-source-maps', program, ...process.argv.slice(2)], { stdio: 'inherit' })
child.on('exit', (code) => process.exit(code ?? 1))
