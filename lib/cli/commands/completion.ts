// wbsr completion: scripts that complete commands, options and their values in a shell.
import { type Command, InvalidArgumentError } from 'commander'
import { completionScript, SHELLS, type Shell } from '../completion.js'

export function completionCommand(program: Command): void {
  program
    .command('completion')
    .summary('a script that completes commands and options in bash, zsh or fish')
    .description('Prints a script that completes commands, options and values.')
    .argument('<shell>', SHELLS.join(', '), (text) => {
      if (!SHELLS.includes(text as Shell)) throw new InvalidArgumentError(`Expected ${SHELLS.join(', ')}.`)
      return text as Shell
    })
    .addHelpText(
      'after',
      `
Examples:
  wbsr completion bash > ~/.local/share/bash-completion/completions/wbsr
  wbsr completion zsh > "\${fpath[1]}/_wbsr"
  wbsr completion fish > ~/.config/fish/completions/wbsr.fish`,
    )
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, program))
    })
}
