import { Argument, type Command, type CommandUnknownOpts } from '@commander-js/extra-typings'
import type { CommandSurroundings } from './command.js'

const EXAMPLES = `
Examples:
  imgapi-mirror completion bash > /etc/bash_completion.d/imgapi-mirror
  imgapi-mirror completion zsh > "\${fpath[1]}/_imgapi-mirror"
  source <(imgapi-mirror completion bash)     for this shell only`

export function registerCompletion(program: Command, surroundings: CommandSurroundings): void {
  program
    .command('completion')
    .description('print what makes the shell complete our commands and options')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh'] as const))
    .addHelpText('after', EXAMPLES)
    .action((shell) => {
      const words = wordsOf(program)
      surroundings.write(shell === 'bash' ? scriptOf(words) : `${ZSH_PROLOGUE}${scriptOf(words)}`)
    })
}

/** zsh can complete as bash does, when it is told to. */
const ZSH_PROLOGUE = `#compdef imgapi-mirror
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
`

/** By command line without options (`config check`): what can follow. */
type Words = ReadonlyMap<string, Following>

interface Following {
  /** Commands, and words that its argument must be one of. */
  readonly words: readonly string[]
  readonly flags: readonly Flag[]
  readonly takesFile: boolean
}

interface Flag {
  readonly name: string
  readonly takesValue: boolean
  /** Whether its value is the name of a file. */
  readonly takesFile: boolean
}

function wordsOf(program: CommandUnknownOpts): Words {
  const words = new Map<string, Following>()
  const visit = (command: CommandUnknownOpts, paths: readonly string[]) => {
    const inner = command.commands.filter((each) => each.name() !== 'help')
    const following: Following = {
      words: [...inner.flatMap(namesOf), ...command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? [])],
      flags: flagsOf(command),
      takesFile: command.registeredArguments.some((argument) => /file|directory/.test(argument.name())),
    }
    for (const path of paths) {
      words.set(path, following)
      for (const each of inner) {
        visit(
          each,
          namesOf(each).map((name) => `${path} ${name}`.trim()),
        )
      }
    }
  }
  visit(program, [''])
  return words
}

function namesOf(command: CommandUnknownOpts): string[] {
  return [command.name(), ...command.aliases()]
}

function flagsOf(command: CommandUnknownOpts): Flag[] {
  const flags = command.options.flatMap(({ flags: written, long, optional, required, short }) =>
    [short, long].flatMap((name) =>
      name ? [{ name, takesValue: required || optional, takesFile: /<(?:file|directory)>/.test(written) }] : [],
    ),
  )
  return [...flags, { name: '--help', takesValue: false, takesFile: false }]
}

/**
 * Walks along the words before the cursor, as far as they are commands of ours; what stands behind an option that takes a value
 * is none.
 */
function scriptOf(words: Words): string {
  const cases = [...words].map(
    ([path, { flags, takesFile, words }]) => `    '${path}')
      words='${words.join(' ')}'
      flags='${flags.map(({ name }) => name).join(' ')}'
      valued='${pick(flags, ({ takesValue }) => takesValue)}'
      filed='${pick(flags, (flag) => flag.takesFile)}'
      files=${takesFile ? 'yes' : ''}
      ;;`,
  )
  return `_imgapi_mirror_words() {
  case "$1" in
${cases.join('\n')}
    *) return 1 ;;
  esac
}

_imgapi_mirror_files() {
  # Else a name with blanks would be many.
  local IFS=$'\\n'
  COMPREPLY+=( $(compgen -f -- "$1") )
  # For these only: a folder that is called like a command is not meant. zsh has no such thing.
  compopt -o filenames 2> /dev/null
}

_imgapi_mirror() {
  local words flags valued filed files word path_ skip index
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  _imgapi_mirror_words ''
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    if [[ -n $skip ]]; then
      skip=
    elif [[ $word == -* ]]; then
      case " $valued " in *" $word "*) skip=yes ;; esac
    else
      case " $words " in
        *" $word "*) _imgapi_mirror_words "\${path_:+$path_ }$word" && path_="\${path_:+$path_ }$word" ;;
      esac
    fi
  done
  COMPREPLY=()
  if [[ -n $skip ]]; then
    case " $filed " in *" $previous "*) _imgapi_mirror_files "$current" ;; esac
  elif [[ $current == -* ]]; then
    COMPREPLY=( $(compgen -W "$flags" -- "$current") )
  else
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
    if [[ -n $files ]]; then
      _imgapi_mirror_files "$current"
    fi
  fi
  return 0
}

complete -F _imgapi_mirror imgapi-mirror
`
}

function pick(flags: readonly Flag[], isMeant: (flag: Flag) => boolean): string {
  return flags
    .filter(isMeant)
    .map(({ name }) => name)
    .join(' ')
}
