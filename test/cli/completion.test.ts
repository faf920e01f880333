import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../support/temporary.js'
import { runCommand } from './run-command.js'

const shell = promisify(execFile)

/** What a real bash offers behind these words, the last of which is being typed. */
async function completionsOf(script: string, words: readonly string[], cwd: string): Promise<string[]> {
  const ask = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _imgapi_mirror; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout } = await shell('bash', ['--norc', '-c', ask, script, 'imgapi-mirror', ...words], { cwd })
  return stdout.split('\n').filter((line) => line !== '')
}

it('completes commands, options and files in bash', async () => {
  const directory = await temporaryDirectory()
  const { code, out } = await runCommand(['completion', 'bash'])
  expect(code).toBe(0)
  const script = join(directory, 'completion.bash')
  await writeFile(script, out)
  await writeFile(join(directory, 'my config.yaml'), '')
  // A folder that is called like a command is none of our business.
  await mkdir(join(directory, 'config'))

  const cases: [words: string[], offered: string[]][] = [
    [['conf'], ['config']],
    [
      ['config', ''],
      ['check', 'schema', 'example'],
    ],
    [
      ['config', 'check', '--'],
      ['--config', '--print', '--help'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh'],
    ],
    [['sourc'], ['sources']],
    [['sources', '--js'], ['--json']],
    [['status', '--config', 'my'], ['my config.yaml']],
    // The value of an option is no command, and nothing that we could know.
    [['status', '--url', 'c'], []],
    [['status', '--url', 'config', '--js'], ['--json']],
  ]
  for (const [words, offered] of cases) {
    expect(await completionsOf(script, words, directory), words.join(' ')).toEqual(offered)
  }
})

it('gives zsh the same, by way of what it has for bash', async () => {
  const { out } = await runCommand(['completion', 'zsh'])
  expect(out).toMatch(/^#compdef imgapi-mirror\n/)
  expect(out).toContain('bashcompinit')
  expect((await runCommand(['completion', 'fish'])).code).toBe(2)
})
