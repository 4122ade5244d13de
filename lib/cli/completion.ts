// Shell completion, made from the commands themselves. The scripts are static: completing starts no Node.
import type { Command, Option } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

interface Entry {
  name: string
  summary: string
  options: readonly Option[]
}

const entriesOf = (program: Command): Entry[] =>
  program.commands.map((command) => ({
    name: command.name(),
    summary: command.summary(),
    options: command.createHelp().visibleOptions(command),
  }))

const namesOf = ({ short, long }: Option) => [short, long].filter((name) => name !== undefined)
const takesValue = ({ required, optional }: Option) => required || optional
/** The first sentence of an option's help, as one word of a shell. */
const quoted = (text: string) => `'${text.replaceAll('\n', ' ').replaceAll("'", "'\\''")}'`

/** Of an option, what stands on the command line after it: one of its choices, or a file. */
function bashCases(entry: Entry): string {
  const cases = entry.options.filter(takesValue).map((option) => {
    const names = namesOf(option).join('|')
    const reply = option.argChoices
      ? `COMPREPLY=($(compgen -W '${option.argChoices.join(' ')}' -- "$cur"))`
      : 'compopt -o default; COMPREPLY=()'
    return `        ${names}) ${reply}; return ;;`
  })
  const options = entry.options.flatMap(namesOf).join(' ')
  return `    ${entry.name})
      case "$prev" in
${cases.join('\n')}
      esac
      options='${options}' ;;`
}

function bash(entries: Entry[]): string {
  return `# bash completion of wbsr, made by "wbsr completion bash"
_wbsr() {
  local cur prev command options
  cur="\${COMP_WORDS[COMP_CWORD]}"
  prev="\${COMP_WORDS[COMP_CWORD-1]}"
  command="\${COMP_WORDS[1]}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${entries.map(({ name }) => name).join(' ')} help --help --version' -- "$cur"))
    return
  fi
  case "$command" in
${entries.map(bashCases).join('\n')}
  esac
  if [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  else
    compopt -o default
    COMPREPLY=()
  fi
}
complete -F _wbsr wbsr
`
}

function zshOption(option: Option): string {
  const text = option.description.replace(/[[\]:]/g, ' ').replaceAll("'", "'\\''")
  const value = !takesValue(option)
    ? ''
    : option.argChoices
      ? `:value:(${option.argChoices.join(' ')})`
      : ':value:_files'
  return namesOf(option)
    .map((name) => `        '${name}[${text}]${value}'`)
    .join(' \\\n')
}

function zsh(entries: Entry[]): string {
  const commands = entries.map(({ name, summary }) => `      ${quoted(`${name}:${summary.replaceAll(':', ' ')}`)}`)
  const cases = entries.map(
    ({ name, options }) => `    ${name})
      _arguments -S \\
${options.map(zshOption).join(' \\\n')} \\
        '*:file:_files' ;;`,
  )
  return `#compdef wbsr
# zsh completion of wbsr, made by "wbsr completion zsh"
_wbsr() {
  local -a commands
  if (( CURRENT == 2 )); then
    commands=(
${commands.join('\n')}
    )
    _describe 'command' commands
    return
  fi
  local command="\${words[2]}"
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join('\n')}
    *) _files ;;
  esac
}
if [ "$funcstack[1]" = _wbsr ]; then _wbsr "$@"; else compdef _wbsr wbsr; fi
`
}

function fish(entries: Entry[]): string {
  const lines = entries.flatMap(({ name, summary, options }) => [
    `complete -c wbsr -n __fish_use_subcommand -f -a ${name} -d ${quoted(summary)}`,
    ...options.map((option) => {
      const [short, long] = [option.short?.slice(1), option.long?.slice(2)]
      const value = !takesValue(option)
        ? ''
        : option.argChoices
          ? ` -x -a ${quoted(option.argChoices.join(' '))}`
          : ' -r'
      return (
        `complete -c wbsr -n '__fish_seen_subcommand_from ${name}'${short ? ` -s ${short}` : ''}${long ? ` -l ${long}` : ''}` +
        `${value} -d ${quoted(option.description)}`
      )
    }),
  ])
  return `# fish completion of wbsr, made by "wbsr completion fish"\n${lines.join('\n')}\n`
}

const WRITERS: Record<Shell, (entries: Entry[]) => string> = { bash, zsh, fish }

/** The script of a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return WRITERS[shell](entriesOf(program))
}
