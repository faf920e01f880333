import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { whyNoNginx } from './support/nginx.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')

// Times are not judged: a busy machine may be as slow as it likes.
it.skipIf(whyNoNginx())(
  'answers every question of the bench, and finds right what must be right on any machine',
  async () => {
    const args = ['--import', 'tsx', 'bench/run.ts', '--quick', '--directory', tmpdir()]
    const { stdout } = await run(process.execPath, args, { cwd: root, maxBuffer: 2 ** 24 })
    const asked = readdirSync(join(root, 'bench', 'questions')).map((file) => String(Number.parseInt(file, 10)))
    const answered = [...stdout.matchAll(/^## (\d+)\. /gm)].map(([, number]) => number!)
    expect(answered.sort()).toEqual(asked.sort())
    expect(stdout).not.toContain('WRONG')
    expect(stdout).toContain('all that must be right is right')
  },
  300_000,
)
