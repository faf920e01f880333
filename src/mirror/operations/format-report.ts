import { type Html, html } from '../../parts/html.js'
import { formatSignedHead } from '../../parts/ledger-head.js'
import type { AuditReport, ReportedEvent } from './audit-report.js'

/** For a spreadsheet: one table, of which `what` says what a row is about. */
export function formatReportAsCsv(report: AuditReport): string {
  const header =
    'what,at,uuid,name,version,upstream,size,sha1,sha256,firstSeen,heldSince,lastChecked,neverRechecked,note'
  const rows: (string | number | null)[][] = []
  for (const { files, firstSeenMs, heldSinceMs, isGood, name, upstream, uuid, version } of report.images) {
    for (const { isNeverRechecked, lastCheckedMs, sha1, sha256, sizeBytes } of files) {
      const times = [firstSeenMs, heldSinceMs, lastCheckedMs].map(timeOf)
      const note = isGood ? '' : 'damaged'
      const facts = [uuid, name, version, upstream, sizeBytes, sha1, sha256]
      rows.push(['held', '', ...facts, ...times, isNeverRechecked ? 'yes' : 'no', note])
    }
  }
  const short = (what: string, atMs: number, uuid: string | null, note: string) =>
    rows.push([what, timeOf(atMs), uuid, '', '', '', '', '', '', '', '', '', '', note])
  for (const { differences, loser, settledMs, sinceMs, uuid, winner } of report.conflicts) {
    const end = settledMs === null ? '' : `; settled ${timeOf(settledMs)}`
    short('conflict', sinceMs, uuid, `${winner} stands against ${loser}: ${differences.join('; ')}${end}`)
  }
  for (const { atMs, kind, uuid, what } of report.failures) short('failure', atMs, uuid, `${kind}: ${what}`)
  for (const { atMs, kind, uuid, what } of report.changes) short('change', atMs, uuid, `${kind}: ${what}`)
  const { head } = report
  if (head) short('head', head.atMs, null, `entries ${head.entries} hash ${head.hash} key ${head.key}`)
  return `${[header, ...rows.map((row) => row.map(csvOf).join(','))].join('\r\n')}\r\n`
}

/** Names are an upstream's: one that begins like a formula must not become one. */
function csvOf(value: string | number | null): string {
  const text = String(value ?? '')
  const tame = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:100em;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd;vertical-align:top}
th{background:#f4f4f4}code,pre{font:12px/1.4 monospace;overflow-wrap:anywhere}.bad{color:#a00;font-weight:600}.number{text-align:right}`

/** A page of its own, without scripts and without anything from elsewhere. */
export function formatReportAsHtml(report: AuditReport): string {
  const { conflicts, head, images, totals } = report
  const never = images.filter(({ files }) => files.some(({ isNeverRechecked }) => isNeverRechecked)).length
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of an imgapi-mirror</title>
<style>STYLE_GOES_HERE</style></head><body>
<h1>Audit report</h1>
<p>From ${timeOf(report.sinceMs)} to ${timeOf(report.untilMs)}, made ${timeOf(report.madeMs)} from the mirror's ledger.</p>
<table>
<tr><th>Images held at the end</th><td>${totals.imagesHeld}, ${totals.bytesHeld} bytes</td></tr>
<tr><th>Never checked again since they came</th><td>${never}</td></tr>
<tr><th>Files pulled</th><td>${totals.filesPulled}, ${totals.bytesPulled} bytes</td></tr>
<tr><th>Files asked for by clients</th><td>${totals.served}</td></tr>
<tr><th>Files read again by the scrub</th><td>${totals.scrubbed}</td></tr>
<tr><th>Failures</th><td>${totals.failures}</td></tr>
<tr><th>Conflicts</th><td>${conflicts.length}, ${conflicts.filter(({ settledMs }) => settledMs === null).length} of them stand</td></tr>
</table>
<h2>Images held</h2>
<table><thead><tr><th>image</th><th>upstream</th><th>size</th><th>sha1 and sha256</th><th>first seen</th><th>held since</th><th>last checked</th></tr></thead><tbody>
${images.map(
  ({ files, firstSeenMs, heldSinceMs, isGood, name, upstream, uuid, version }) => html`<tr>
<td>${name} ${version}<br><code>${uuid}</code>${isGood ? html`` : html`<br><span class="bad">damaged</span>`}</td>
<td>${upstream === '' ? 'published here' : upstream}</td>
<td class="number">${files.map(({ sizeBytes }) => html`${sizeBytes}<br>`)}</td>
<td>${files.map(({ sha1, sha256 }) => html`<code>${sha1}</code><br><code>${sha256}</code><br>`)}</td>
<td>${timeOf(firstSeenMs)}</td><td>${timeOf(heldSinceMs)}</td>
<td>${files.map(({ isNeverRechecked, lastCheckedMs }) => html`${timeOf(lastCheckedMs)}${isNeverRechecked ? ', never since' : ''}<br>`)}</td>
</tr>
`,
)}</tbody></table>
<h2>Conflicts</h2>
${
  conflicts.length === 0
    ? html`<p>None.</p>`
    : html`<table><thead><tr><th>image</th><th>stands</th><th>against</th><th>differences</th><th>since</th><th>settled</th></tr></thead><tbody>
${conflicts.map(
  ({ differences, loser, settledMs, sinceMs, uuid, winner }) =>
    html`<tr><td><code>${uuid}</code></td><td>${winner}</td><td>${loser}</td><td>${differences.join('; ')}</td><td>${timeOf(sinceMs)}</td><td>${settledMs === null ? 'no' : timeOf(settledMs)}</td></tr>
`,
)}</tbody></table>`
}
<h2>Failures</h2>
${eventsTable(report.failures, totals.failures)}
<h2>Changes</h2>
${eventsTable(report.changes, totals.changes)}
<h2>What this was made of</h2>
${
  head === null
    ? html`<p class="bad">The ledger has no signed head.</p>`
    : html`<p>The ledger as it was signed below. <code>imgapi-mirror audit verify --head</code> with this text finds whether it is still the same.</p>
<pre>${formatSignedHead(head)}</pre>
<p>Public key:</p><pre>${head.publicKey ?? 'not known'}</pre>`
}
</body></html>
`
  // The only text that is not a value: styles are ours, and escaping would spoil them.
  return page.text.replace('STYLE_GOES_HERE', () => STYLE)
}

function eventsTable(events: readonly ReportedEvent[], count: number): Html {
  if (count === 0) return html`<p>None.</p>`
  const more = count > events.length ? html`<p>And ${count - events.length} more, which are in the ledger.</p>` : html``
  return html`<table><thead><tr><th>entry</th><th>at</th><th>what</th><th>image</th><th>facts</th></tr></thead><tbody>
${events.map(
  ({ atMs, kind, seq, uuid, what }) =>
    html`<tr><td>${seq}</td><td>${timeOf(atMs)}</td><td>${kind}</td><td><code>${uuid ?? ''}</code></td><td>${what}</td></tr>
`,
)}</tbody></table>${more}`
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
