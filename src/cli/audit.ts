import type { Command } from '@commander-js/extra-typings'
import { parseUuid } from '../images/uuid.js'
import { type AuditHead, auditHeadOf } from '../mirror/operations/audit-head.js'
import { type AuditReport, reportOf } from '../mirror/operations/audit-report.js'
import {
  type AuditEntry,
  auditEntryOf,
  type Comparison,
  type Discrepancy,
  type LedgerReader,
} from '../mirror/operations/auditing.js'
import { formatReportAsCsv, formatReportAsHtml } from '../mirror/operations/format-report.js'
import { type LedgerVerdict, verifyLedger } from '../mirror/operations/verify-ledger.js'
import { formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { addDirectoryOptions, type DirectoryOptions } from './ask-or-read.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED } from './command.js'
import { fitText } from './facts.js'
import { addMirrorOptions, type MirrorOptions, readMirrorConfig, urlElsewhere } from './mirror-options.js'
import { printable } from './printable.js'
import { readTextFile } from './read-text-file.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
verify, report and log read the ledger in the data directory itself, whether a mirror runs or not; with --url they ask a
mirror. head and compare always ask a running mirror.

Examples:
  imgapi-mirror audit head > head-2026-01.txt           sign what happened so far, and keep that elsewhere
  imgapi-mirror audit verify --head head-2026-01.txt    is everything as it was written, and nothing cut off?
  imgapi-mirror audit report --since 2026-01-01 --html > january.html
  imgapi-mirror audit log 01b2c898-945f-11e1-a523-af1afbe22822
  imgapi-mirror audit compare                           do the upstreams still say what we hold?

Exits with 0 when all is well, 1 when something is wrong with the ledger or differs, 2 when the command line means nothing.`

const ENTRY_COLUMNS: readonly Column<AuditEntry>[] = [
  { name: 'entry', value: ({ seq }) => seq, isRight: true },
  { name: 'at', value: ({ atMs }) => atMs, text: ({ atMs }) => timeOf(atMs) },
  { name: 'kind', value: ({ kind }) => kind },
  { name: 'image', value: ({ image }) => image, isMinor: true },
  { name: 'facts', value: ({ facts }) => JSON.stringify(facts), shrinksTo: 20 },
]

const DIFFERENCE_COLUMNS: readonly Column<Discrepancy>[] = [
  { name: 'upstream', value: ({ upstream }) => upstream },
  { name: 'uuid', value: ({ uuid }) => uuid },
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'version', value: ({ version }) => version, shrinksTo: 6, isMinor: true },
  { name: 'differences', value: ({ differences }) => differences.join('; '), shrinksTo: 20 },
]

export function registerAudit(program: Command, surroundings: CommandSurroundings): void {
  const audit = program
    .command('audit')
    .description('what happened to every image, and the proof that nobody changed that')
    .addHelpText('after', EXAMPLES)

  addDirectoryOptions(audit.command('verify').description('find whatever in the ledger is not as it was written'))
    .option('--head <file or text...>', 'what was kept elsewhere: a signed head, or a number of entries and a hash')
    .option('--public-key <file>', 'the public key that was kept elsewhere')
    .option('-j, --json', 'print JSON')
    .action(async ({ head = [], json, publicKey: keyFile, ...options }) => {
      const heads = await Promise.all(head.map((each) => readHead(each, surroundings)))
      const publicKey = keyFile === undefined ? undefined : await readTextFile(keyFile, surroundings)
      const ledger = await findLedger(options, surroundings)
      const verdict = ledger
        ? await verifyLedger(ledger, { heads, publicKey, signal: surroundings.stop })
        : await ask(options, surroundings, (mirror) =>
            mirror.post<LedgerVerdict>('/api/audit/verify', { heads, ...(publicKey && { publicKey }) }),
          )
      surroundings.write(
        json
          ? `${JSON.stringify(verdict, null, 2)}\n`
          : fitText(describeVerdict(verdict), surroundings.terminal?.columns()),
      )
      if (!verdict.isIntact) surroundings.exitWith(FAILED)
    })

  addDirectoryOptions(audit.command('report').description('what was held, pulled, changed and wrong in a time span'))
    .option('--since <time>', 'from then on: 2026-01-31, or 2026-01-31T12:00:00Z; without it, from the beginning')
    .option('--until <time>', 'up to then; without it, up to now')
    .option('--csv', 'as a table for spreadsheets, instead of JSON')
    .option('--html', 'as a page for people')
    .action(async ({ csv, html, since, until, ...options }) => {
      if (csv && html) throw new CommandFailure('--csv and --html are two reports: ask for one', MISUSED)
      const sinceMs = since === undefined ? 0 : parseTime(since)
      const untilMs = until === undefined ? Date.now() : parseTime(until)
      if (sinceMs >= untilMs) {
        throw new CommandFailure(`from ${timeOf(sinceMs)} to ${timeOf(untilMs)} there is no time to report`, MISUSED)
      }
      const ledger = await findLedger(options, surroundings)
      const query = { since: timeOf(sinceMs), until: timeOf(untilMs) }
      const report = ledger
        ? await reportOf(ledger, { sinceMs, untilMs, signal: surroundings.stop })
        : await ask(options, surroundings, (mirror) => mirror.get<AuditReport>('/api/audit/report', query))
      if (csv) surroundings.write(formatReportAsCsv(report))
      else surroundings.write(html ? formatReportAsHtml(report) : `${JSON.stringify(report, null, 2)}\n`)
    })

  addMirrorOptions(
    addTableOptions(
      audit.command('compare').description('ask all upstreams now: where do they not say what we hold?'),
      DIFFERENCE_COLUMNS,
    ),
  ).action(async (options) => {
    const comparison = await ask(options, surroundings, (mirror) => mirror.post<Comparison>('/api/audit/compare'))
    const { discrepancies, imagesHeld, upstreams } = comparison
    if (options.json) surroundings.write(`${JSON.stringify(comparison, null, 2)}\n`)
    else {
      printTable(discrepancies, DIFFERENCE_COLUMNS, options, surroundings)
      for (const { compared, error, name } of upstreams) {
        const failure = error === null ? '' : `; not asked to the end: ${printable(error)}`
        surroundings.complain(`${name} has ${compared} of the ${imagesHeld} images held${failure}\n`)
      }
    }
    if (discrepancies.length > 0 || upstreams.some(({ error }) => error !== null)) surroundings.exitWith(FAILED)
  })

  addMirrorOptions(audit.command('head').description('sign the head of the ledger, and print it: to be kept elsewhere'))
    .option('--data <directory>', 'print the head that was signed last, from this data directory')
    .option('-j, --json', 'print JSON')
    .action(async ({ data, json, ...options }) => {
      const head =
        data === undefined
          ? await ask(options, surroundings, (mirror) => mirror.post<AuditHead>('/api/audit/head'))
          : await lastHead(openLedger(data, surroundings))
      surroundings.write(json ? `${JSON.stringify(head, null, 2)}\n` : `${head.text}\n${head.signature}`)
    })

  addDirectoryOptions(
    addTableOptions(audit.command('log').description('the newest entries, about one image or all'), ENTRY_COLUMNS),
  )
    .argument('[uuid]', 'of an image')
    .option('-n <count>', 'how many', '100')
    .action(async (uuid, { n, ...options }) => {
      const image = uuid === undefined ? undefined : parseUuid(uuid)
      if (uuid !== undefined && !image) throw new CommandFailure(`"${uuid}" is no uuid`, MISUSED)
      const limit = /^[1-9]\d{0,3}$/.test(n) ? Math.min(Number(n), 1000) : undefined
      if (limit === undefined) throw new CommandFailure(`-n: "${n}" is no number from 1 to 1000`, MISUSED)
      const ledger = await findLedger(options, surroundings)
      const entries = ledger
        ? (await ledger.newest(image, limit)).map(auditEntryOf)
        : await ask(options, surroundings, async (mirror) => {
            const { items } = await mirror.get<{ items: AuditEntry[] }>('/api/audit/log', { image, limit })
            return items
          })
      printTable(entries, ENTRY_COLUMNS, options, surroundings)
    })
}

/** The ledger to read ourselves; `undefined` when a mirror is to be asked. */
async function findLedger(
  options: DirectoryOptions,
  surroundings: CommandSurroundings,
): Promise<LedgerReader | undefined> {
  if (options.data === undefined && urlElsewhere(options, surroundings.environment) !== undefined) return undefined
  const directory = options.data ?? (await readMirrorConfig(options, surroundings)).dataDirectory
  const ledger = openLedger(directory, surroundings)
  // Nothing is wrong with nothing: a name mistyped, or a ledger taken away, would pass for one that is in order.
  if (await ledger.isEmpty()) {
    throw new CommandFailure(`there is no ledger in ${directory}; is that the data directory of a mirror?`)
  }
  return ledger
}

function openLedger(directory: string, { openLedger: open }: CommandSurroundings): LedgerReader {
  if (!open) throw new CommandFailure('no data directory can be read from here')
  return open(directory)
}

async function ask<Answer>(
  options: MirrorOptions,
  surroundings: CommandSurroundings,
  question: (mirror: ApiClient) => Promise<Answer>,
): Promise<Answer> {
  return await question(await ApiClient.open(options, surroundings))
}

async function lastHead(ledger: LedgerReader): Promise<AuditHead> {
  const head = await ledger.signedHead()
  if (!head) throw new CommandFailure('there is no signed head of a ledger in that directory')
  return auditHeadOf(head, await ledger.publicKey())
}

/** A file, with its `.minisig` beside it if there is one; or what was noted of a head. */
async function readHead(said: string, { readFile }: CommandSurroundings): Promise<string> {
  const content = await readFile(said).catch(() => undefined)
  if (content === undefined) return said
  const isAlone = !content.includes('untrusted comment:')
  const signature = isAlone ? await readFile(`${said}.minisig`).catch(() => undefined) : undefined
  return signature === undefined ? content : `${content}\n${signature}`
}

function describeVerdict(verdict: LedgerVerdict): string {
  const { entries, entriesUnsigned, faults, faultsFound, heads, lastSignedMs, segments, sizeBytes } = verdict
  const lines = [`${entries} entries in ${segments} ${segments === 1 ? 'file' : 'files'}, ${formatSize(sizeBytes)}`]
  if (verdict.firstMs !== null && verdict.lastMs !== null) {
    lines.push(`from ${timeOf(verdict.firstMs)} to ${timeOf(verdict.lastMs)}`)
  }
  if (verdict.key !== null) lines.push(`key ${verdict.key}`)
  const signed =
    lastSignedMs === null ? 'no signed head in it' : `the last signed head in it is of ${timeOf(lastSignedMs)}`
  lines.push(`${signed}; ${entriesUnsigned} entries are behind it`)
  if (verdict.unfinishedBytes > 0)
    lines.push(`${verdict.unfinishedBytes} bytes at the end are being written, or were torn by a crash`)
  for (const { complaint, entries: count, from, isSigned } of heads) {
    const proof = isSigned ? 'signed' : 'unsigned'
    if (complaint === null) lines.push(`the head of ${count} entries, ${from}, ${proof}, is this ledger's`)
    else lines.push(`WRONG: the head of ${count} entries, ${from}: ${printable(complaint)}`)
  }
  if (verdict.keyComplaint !== null) lines.push(`WRONG: ${verdict.keyComplaint}`)
  for (const { complaint, file, line } of faults) lines.push(`WRONG: ${file}, line ${line}: ${printable(complaint)}`)
  if (faultsFound > faults.length) lines.push(`WRONG: and ${faultsFound - faults.length} more`)
  lines.push(verdict.isIntact ? 'The ledger is as it was written.' : 'The ledger is NOT as it was written.')
  return `${lines.join('\n')}\n`
}

function parseTime(text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (Number.isNaN(ms))
    throw new CommandFailure(`"${text}" is no time, such as 2026-01-31 or 2026-01-31T12:00:00Z`, MISUSED)
  return ms
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
