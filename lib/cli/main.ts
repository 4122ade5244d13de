#!/usr/bin/env node
// The program `wbsr`.
import { CommanderError } from 'commander'
import { Ended, EXIT, messageOf, statusOf } from './exit.js'
import { makeProgram } from './program.js'
import { colour } from './terminal.js'

try {
  await makeProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage
  else {
    if (!(error instanceof Ended))
      process.stderr.write(`${colour(process.stderr, 'red', 'error:')} ${messageOf(error)}\n`)
    process.exitCode = statusOf(error)
  }
}
