// Writes the tables of docs/spot-prices.md anew.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from './bundle.mjs'

await bundle({ 'spot-prices': path.join(root, 'src/simulate/spot-prices-main.ts') })
const program = path.join(root, 'dist/spot-prices.js')
const child = spawn(process.execPath, ['--enable-source-maps', program, ...process.argv.slice(2)], { stdio: 'inherit' })
child.on('exit', (code) => process.exit(code ?? 1))
