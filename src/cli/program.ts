import { Command } from 'commander'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../core/package-root.ts'
import { addAccount } from './account.ts'
import { addCertificate } from './certificate.ts'
import { addClone } from './clone.ts'
import { addConsole } from './console.ts'
import { addDisk } from './disk.ts'
import { addDoctor } from './doctor.ts'
import { addDown } from './down.ts'
import { addEnv } from './env.ts'
import { addEvent } from './event.ts'
import { addEvents } from './feed.ts'
import { addImage } from './image.ts'
import { addKey } from './key.ts'
import { addReset } from './reset.ts'
import { addRestore } from './restore.ts'
import { addRetention } from './retention.ts'
import { addSsh } from './ssh.ts'
import { addStart, addStop } from './start-stop.ts'
import { addStatus } from './status.ts'
import type { Terminal } from './terminal.ts'
import { addUp } from './up.ts'
import { addWhyNot } from './why-not.ts'
import { addZone } from './zone.ts'

/** The command line of Hearth. Failures come as exceptions; of the command line's own, commander has told. */
export function createProgram(terminal: Terminal): Command {
  const program = new Command('hearth')
    .description('EC2 on your own machines: an EC2-compatible cloud of real virtual machines on one Linux host')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this')
    .exitOverride()
    .enablePositionalOptions()
    .configureOutput({
      writeErr: (text) => terminal.say(text.trimEnd()),
      outputError: (text, write) => write(text.replace(/^error: /, 'hearth: ')),
    })
    .addHelpText('after', '\nExamples:\n  hearth up\n  eval "$(hearth env)"\n  hearth ssh first\n  hearth down')
  const commands = [
    addUp, addDown, addStatus, addEnv, addStart, addStop, addSsh, addConsole, addWhyNot, addImage, addClone, addDisk, addRestore, addRetention,
    addEvent, addEvents, addZone, addAccount, addKey, addCertificate, addDoctor, addReset,
  ]
  for (const add of commands) add(program, terminal)
  return program
}

function version(): string {
  const manifest = JSON.parse(readFileSync(path.join(packageRoot(), 'package.json'), 'utf8')) as { version: string }
  return manifest.version
}
