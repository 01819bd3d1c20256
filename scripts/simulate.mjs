// npm run simulate -- --seed N --steps M [--seeds COUNT]
import { spawn } from 'node:child_process'
import path from 'node:path'
import { bundle, root } from './bundle.mjs'

await bundle({ simulate: path.join(root, 'src/simulate/main.ts') })
const program = path.join(root, 'dist/simulate.js')
const child = spawn(process.execPath, ['--enable-source-maps', program, ...process.argv.slice(2)], { stdio: 'inherit' })
child.on('exit', (code) => process.exit(code ?? 1))
