import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings'
import { isMirrorError } from '../errors.js'
import { closestWord } from '../parts/closest-word.js'
import { configCheck } from './config-check.js'
import { configExample } from './config-example.js'
import { configSchema } from './config-schema.js'
import { serve } from './serve.js'
import type { Surroundings } from './surroundings.js'

/** As imgadm's: 1 is a failure, 2 a command line that means nothing. */
const FAILED = 1
const MISUSED = 2

const EXAMPLES = `
Examples:
  imgapi-mirror config example > config.yaml   a config file to begin with
  imgapi-mirror config check                   is config.yaml right?
  imgapi-mirror --config config.yaml           run the mirror
  imgadm sources -a http://mirror:8080         on a SmartOS host: use it

Any key of the config can be set by an environment variable: IMGAPI_MIRROR_LISTEN, IMGAPI_MIRROR_UPSTREAMS_0_URL...`

/** Does what the command line asks for. Answers the exit code; failures we expect are told, others are thrown on. */
export async function run(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { complain, version, write } = surroundings
  let exitCode = 0

  const program = new Command('imgapi-mirror')
    .description('A verified pull-through mirror for SmartOS and Triton images.')
    .version(version)
    .addHelpText('after', EXAMPLES)
    .showSuggestionAfterError()
    .configureOutput({ writeOut: write, writeErr: complain })
    .exitOverride()
    .hook('preSubcommand', refuseUnknownCommand)

  program
    .command('serve', { isDefault: true })
    .description('run the mirror until it is told to stop (what it does without a command)')
    .option('--config <file>', 'the config file', 'config.yaml')
    .action(async (options) => {
      exitCode = await serve(options, surroundings)
    })

  const config = program.command('config').description('about the config file')
  config
    .command('check')
    .description('say everything that is wrong with the config file, or that it is right')
    .option('--config <file>', 'the config file', 'config.yaml')
    .option('--print', 'print what it comes to, defaults and environment included, as a config file')
    .action(async (options) => {
      exitCode = await configCheck(options, surroundings)
    })
  config
    .command('schema')
    .description('print the JSON Schema of the config file, for editors')
    .action(() => {
      exitCode = configSchema(surroundings)
    })
  config
    .command('example')
    .description('print a config file with every key, its meaning and its default')
    .action(() => {
      exitCode = configExample(surroundings)
    })

  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // Commander has told what is wrong; help and version arrive here too, as successes.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : MISUSED
    if (!isMirrorError(error)) throw error
    complain(`imgapi-mirror: ${error.message}\n`)
    return FAILED
  }
}

/** Commander would take the word for an argument of the command that runs by default, and complain of that. */
function refuseUnknownCommand(program: CommandUnknownOpts): void {
  const [word] = program.args
  const commands = program.commands.map((command) => command.name())
  if (word === undefined || word.startsWith('-') || commands.includes(word)) return
  const meant = closestWord(word, commands)
  const advice = meant ? `Did you mean ${meant}?` : `The commands are ${commands.join(' and ')}.`
  program.error(`error: unknown command '${word}'\n(${advice})`, {
    code: 'commander.unknownCommand',
    exitCode: MISUSED,
  })
}
