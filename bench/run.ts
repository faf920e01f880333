/*
 * npm run bench: one script per question in questions/. See README.md beside this file.
 *   --quick              small sizes and one round: shows that it works; writes nothing
 *   --only 3             this question alone; may be said again
 *   --rounds 5           how often each contestant is measured
 *   --directory DIR      where files are laid down: the disk that is measured (default: the system's temporary directory)
 *   --sdc-imgapi DIR     a built checkout of sdc-imgapi, to run beside us
 *   --sdc-imgapi-node F  the node that runs it
 *   --dsapid FILE        a built dsapid, to run beside us
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { prepare } from '../scripts/ready.mjs'
import { describeMachine, loadNow } from './machine.js'
import type { Bench, Question, Result } from './question.js'
import { formatSection, writeResults } from './results.js'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string' },
    directory: { type: 'string', default: tmpdir() },
    'sdc-imgapi': { type: 'string' },
    'sdc-imgapi-node': { type: 'string' },
    dsapid: { type: 'string' },
  },
})

const here = import.meta.dirname
const isQuick = values.quick
const rounds = Number(values.rounds ?? (isQuick ? 1 : 3))
const only = values.only.map(Number)
const settings = {
  isQuick,
  rounds,
  reference: {
    sdcImgapi: values['sdc-imgapi'],
    sdcImgapiNode: values['sdc-imgapi-node'],
    dsapid: values.dsapid,
  },
}

if (!prepare()) process.exit(1)

const machine = describeMachine(values.directory)
const head = [
  '# What was measured',
  'Written by `npm run bench`; [README.md](README.md) says how to read it. Medians, and in brackets the least and the most of all rounds.',
  machine.map((line) => `- ${line}`).join('\n'),
].join('\n\n')

const files = (await readdir(join(here, 'questions'))).filter((file) => /^\d+-.*\.ts$/.test(file)).sort()
let isAllRight = true
for (const file of files) {
  const number = Number.parseInt(file, 10)
  if (only.length > 0 && !only.includes(number)) continue
  const question = (await import(join(here, 'questions', file))) as Question
  console.error(`\n${number}. ${question.question}`)
  const load = loadNow()
  const startMs = performance.now()
  const result = await answer(number, question)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const section = formatSection(
    number,
    question,
    result,
    `${new Date().toISOString().slice(0, 10)}, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, ${seconds} s; load before it ${load}. Again: npm run bench -- --only ${number}`,
  )
  console.log(`\n${section}`)
  if (!isQuick) writeResults(join(here, 'RESULTS.md'), head, number, section)
  isAllRight &&= result.checks.every(({ isRight }) => isRight)
}

console.log(`\n${machine.join('\n')}`)
console.log(isAllRight ? '\nall that must be right is right' : '\nSOMETHING IS WRONG: see above')
process.exit(isAllRight ? 0 : 1)

async function answer(number: number, question: Question): Promise<Result> {
  const directory = await mkdtemp(join(values.directory, `imgapi-mirror-bench-${number}-`))
  const opened: { close(): Promise<void> }[] = []
  const bench: Bench = {
    ...settings,
    directory,
    say: (line) => console.error(`   ${line}`),
    use: (one) => {
      opened.push(one)
      return one
    },
  }
  try {
    return await question.run(bench)
  } finally {
    for (const one of opened.reverse()) await one.close()
    await rm(directory, { recursive: true, force: true })
  }
}
