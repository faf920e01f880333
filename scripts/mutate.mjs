// npm run mutate -- images                    what an image is: hours, on 2 cores
// npm run mutate -- verification              how bytes prove what they are
// npm run mutate -- src/images/filter.ts      only these files of an area
// Changes the source in thousands of small ways, one at a time, and tells which of them no test noticed (StrykerJS). By hand, not
// in `npm test`. What was found is kept in .mutation/ when it ends: the next run asks only about what has changed since.
import { mkdirSync } from 'node:fs'
import { Stryker } from '@stryker-mutator/core'
import { root, say } from './ready.mjs'

/**
 * The tests of an area are those that are near to it: that a whole mirror fails as well proves little, and takes long. Worker
 * threads (hash-worker.js, block-worker.js) are left out: a change that is switched on here does not reach them.
 * @type {Record<string, { mutate: string[], testFiles: string[] }>}
 */
const AREAS = {
  images: { mutate: ['src/images/**/*.ts'], testFiles: ['test/images/**/*.test.ts'] },
  verification: {
    mutate: [
      'src/mirror/{pull-file,flight,reception,missing-pieces,in-flight-file,repair,file-stream,measured-manifest}.ts',
      'src/store/{disk-partial-blob,partial-journal,hash-pool,chunk-hashes,blob-examiner,mended-copy,read-promised}.ts',
    ],
    testFiles: [
      'test/mirror/{pulling,file-stream,files}.test.ts',
      'test/store/{hash-pool,partial-journal,blob-examiner,resume,disk-blob-store}.test.ts',
    ],
  },
}

process.chdir(root)
const [first, ...others] = process.argv.slice(2)
const name = !first || first in AREAS ? first : first.startsWith('src/images/') ? 'images' : 'verification'
const area = name && AREAS[name]
if (!first || !area) {
  say(`name an area (${Object.keys(AREAS).join(', ')}), or files of one`)
  process.exit(2)
}
mkdirSync('.mutation', { recursive: true })
const results = await new Stryker({
  mutate: first === name ? area.mutate : [first, ...others],
  testFiles: area.testFiles,
  testRunner: 'vitest',
  coverageAnalysis: 'perTest',
  // What runs once, when a file is loaded, would take all tests of the area for each change.
  ignoreStatic: true,
  incremental: true,
  incrementalFile: `.mutation/${name}.json`,
  tempDirName: '.mutation/sandbox',
  ignorePatterns: ['bench', 'coverage', 'data', 'deploy', 'dist*', 'docs'],
  htmlReporter: { fileName: `.mutation/${name}.html` },
  reporters: ['progress-append-only', 'clear-text', 'html'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  // A busy machine is slow, which kills no mutant.
  timeoutMS: 20_000,
}).runMutationTest()
process.exitCode = results.length > 0 ? 0 : 1
