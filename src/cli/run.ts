import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings'
import { isMirrorError } from '../errors.js'
import { closestWord } from '../parts/closest-word.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED } from './command.js'
import { COMMANDS } from './commands.js'
import { configCheck } from './config-check.js'
import { configExample } from './config-example.js'
import { configSchema } from './config-schema.js'
import { fitHelp } from './fit-help.js'
import { publish } from './publish.js'
import { serve } from './serve.js'
import type { Surroundings } from './surroundings.js'
import { hashPasswordOfInput, makeUserToken } from './user-secrets.js'

const EXAMPLES = `
Examples:
  imgapi-mirror config example > config.yaml   a config file to begin with
  imgapi-mirror config check                   is config.yaml right?
  imgapi-mirror --config config.yaml           run the mirror
  imgadm sources -a http://mirror:8080         on a SmartOS host: use it

  zfs send zones/x@final | gzip |
      imgapi-mirror publish http://mirror:8080 --name x --version 1.0.0 --os smartos

Any key of the config can be set by an environment variable: IMGAPI_MIRROR_LISTEN, IMGAPI_MIRROR_UPSTREAMS_0_URL...`

const PUBLISH_EXAMPLES = `
How the file is compressed (gzip, bzip2, xz or not at all) is seen from its first bytes. It is hashed on its way, and
the image becomes active only if the mirror has exactly the same; otherwise nothing is left behind.

Examples:
  imgapi-mirror publish http://mirror:8080 -m app.imgmanifest -f app.zfs.gz
  zfs send zones/x@final | gzip | imgapi-mirror publish http://builder:secret@mirror:8080 \\
      --name x --version 1.0.0 --os smartos
  imgapi-mirror publish https://mirror -u builder -i ~/.ssh/id_ed25519 -m app.imgmanifest -f app.zfs.gz

Exits with 0 when the image is published, 1 when that failed, 2 when the command line means nothing.`

const TOKEN_EXAMPLES = `
A tokenFile has what is behind the colon of either line, alone: the mirror needs no more than the hash.

Example:
  umask 077
  imgapi-mirror user make-token > token.txt
  sed -n 's/^token: //p' token.txt > builder.token              # for who publishes
  sed -n 's/^tokenHash: //p' token.txt > secrets/builder.token  # for the mirror's configuration`

/** Does what the command line asks for. Answers the exit code; failures we expect are told, others are thrown on. */
export async function run(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { complain, terminal, version, write } = surroundings
  const columns = terminal?.columns()
  let exitCode = 0

  const program = new Command('imgapi-mirror')
    .description('A verified pull-through mirror for SmartOS and Triton images.')
    .version(version)
    .addHelpText('after', EXAMPLES)
    .showSuggestionAfterError()
    // Else the --version of an image would be ours.
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => write(columns === undefined ? text : fitHelp(text, columns)),
      writeErr: (text) => complain(columns === undefined ? text : fitHelp(text, columns)),
      getOutHelpWidth: () => columns ?? 100,
      getErrHelpWidth: () => columns ?? 100,
    })
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

  program
    .command('publish')
    .description('publish an image to a mirror, or to any other IMGAPI, and print its uuid')
    .argument('<url>', 'of the mirror, as imgadm would have it: http://mirror:8080, perhaps with ?channel=dev')
    .option('-m, --manifest <file>', 'a manifest, as imgadm create makes it; the options below say what differs')
    .option('-f, --file <file>', 'the image file; without it standard input is read')
    .option('--uuid <uuid>', "the image's uuid, if it is not to be a new one")
    .option('--name <name>', "the image's name")
    .option('--version <version>', "the image's version")
    .option('--os <os>', 'smartos, linux, windows, bsd, illumos, other')
    .option('--type <type>', 'zone-dataset (which smartos is without it), lx-dataset, zvol, docker, other')
    .option('--origin <uuid>', 'the image that an incremental one builds on')
    .option('--description <text>', 'what it is')
    .option('--homepage <url>', 'where more is told of it')
    .option('--private', 'not for everybody')
    .option('--no-activate', 'leave it unactivated: to be looked at first')
    .option('--channel <channel>', 'the channel to publish into')
    .option('-u, --user <name>', 'who publishes')
    .option('--password-file <file>', "a file with the user's password; user:password@ in the url is possible too")
    .option('--token-file <file>', 'a file with a token, instead of user and password')
    .option('-i, --identity <file>', "the user's private key, to sign with instead of a password")
    .option('--ca <file>', "PEM file with the authorities that may vouch for the mirror, instead of the system's")
    .option('-n, --dry-run', 'print the manifest that would be published, and do nothing')
    .addHelpText('after', PUBLISH_EXAMPLES)
    .action(async (url, options) => {
      exitCode = await publish(url, options, surroundings)
    })

  const user = program.command('user').description('about those who may publish')
  user
    .command('hash-password')
    .description('print the hash of a password, which is read from standard input, for passwordHash')
    .action(async () => {
      exitCode = await hashPasswordOfInput(surroundings)
    })
  user
    .command('make-token')
    .description('print a new token, and its hash for tokenHash')
    .addHelpText('after', TOKEN_EXAMPLES)
    .action(() => {
      exitCode = makeUserToken(surroundings)
    })

  const within: CommandSurroundings = {
    ...surroundings,
    exitWith: (code) => {
      exitCode = code
    },
  }
  for (const register of COMMANDS) register(program, within)

  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // Commander has told what is wrong; help and version arrive here too, as successes.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : MISUSED
    if (!isMirrorError(error) && !(error instanceof CommandFailure)) throw error
    complain(`imgapi-mirror: ${error.message}\n`)
    return error instanceof CommandFailure ? error.exitCode : FAILED
  }
}

/** Commander would take the word for an argument of the command that runs by default, and complain of that. */
function refuseUnknownCommand(program: CommandUnknownOpts): void {
  const [word] = program.args
  const commands = program.commands.map((command) => command.name())
  const aliases = program.commands.flatMap((command) => command.aliases())
  if (word === undefined || word.startsWith('-') || commands.includes(word) || aliases.includes(word)) return
  const meant = closestWord(word, commands)
  const advice = meant ? `Did you mean ${meant}?` : `The commands are ${new Intl.ListFormat('en-GB').format(commands)}.`
  program.error(`error: unknown command '${word}'\n(${advice})`, {
    code: 'commander.unknownCommand',
    exitCode: MISUSED,
  })
}
