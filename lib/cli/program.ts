// The commands of wbsr. Their modules are loaded when they run, so that help and completion come at once.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { Command, type Help } from 'commander'
import { version } from '../version.js'
import { benchCommand } from './commands/bench.js'
import { compareCommand } from './commands/compare.js'
import { completionCommand } from './commands/completion.js'
import { doctorCommand } from './commands/doctor.js'
import { evaluateCommand } from './commands/evaluate.js'
import { fleetCommand } from './commands/fleet.js'
import { exportCommand, importCommand, modelsCommand } from './commands/models.js'
import { serveCommand } from './commands/serve.js'
import { trainCommand } from './commands/train.js'
import { upscaleCommand } from './commands/upscale.js'
import { videoCommand } from './commands/video.js'

const COMMANDS = [
  upscaleCommand,
  videoCommand,
  fleetCommand,
  trainCommand,
  evaluateCommand,
  compareCommand,
  serveCommand,
  modelsCommand,
  importCommand,
  exportCommand,
  doctorCommand,
  benchCommand,
  completionCommand,
]

const ENDING = `
Exit status: 0 done; 1 no model, no device or another error; 2 wrong command line or configuration; 3 inputs failed, one
or all; 130, 143, 129 stopped by Ctrl+C, SIGTERM, SIGHUP; 141 the reader of standard output went away.

Colour and the line of progress appear on a terminal only; NO_COLOR turns colour off.
docs/cli.md is the guide.`

/** Everything that can stand on the command line. */
export function makeProgram(): Command {
  const program = new Command('wbsr')
    .description('Super-resolution that spends computation where a picture needs it.')
    .version(version(), '-V, --version', 'the version of wbsr')
    .helpOption('-h, --help', 'this help')
    .helpCommand('help [command]', 'the help of a command')
    .configureHelp({ sortSubcommands: false, helpWidth: helpWidth() } satisfies Partial<Help>)
    .showHelpAfterError('(--help shows the options)')
    .configureOutput({ outputError: (text, write) => write(withFileHint(text)) })
    .addHelpText('after', ENDING)
    .exitOverride()
  for (const add of COMMANDS) add(program)
  return program
}

/** A file whose name begins with a dash is taken for an option. */
function withFileHint(text: string): string {
  const name = /unknown option '(-[^']+)'/.exec(text)?.[1]
  if (name === undefined || !(existsSync(name) || path.extname(name) !== '')) return text
  return `${text.trimEnd()}\n(./${name} is the file of that name; or put -- before it)\n`
}

function helpWidth(): number {
  return Math.min(process.stdout.columns ?? 120, 120)
}
