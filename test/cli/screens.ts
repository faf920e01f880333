/* What golden files are made of: what stays on a terminal, without what differs from run to run. */

/** What differs from run to run: urls, times, durations, jobs and paths. */
export function normalise(text: string): string {
  const normal = text
    .replace(/http:\/\/127\.0\.0\.1:\d+/g, 'http://HOST')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z/g, 'TIME')
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\dZ/g, 'MINUTE')
    .replace(/(?:\d+[dhms] ?)+ ago|\bnow\b/g, 'AGO')
    .replace(/ in \d+[dhms](?: \d+[dhms])?(?:, [\d.]+ \wi?B\/s)?/g, '')
    .replace(/\b\d+ms\b/g, 'DURATION')
    .replace(/\b[\d.]+ \w?i?B free on the disk/g, 'SIZE free on the disk')
    // Entries are written about a second after what they tell of.
    .replace(/^(What the ledger says last:\n)(?: {2}.*\n)*/gm, '$1  ENTRIES\n')
    .replace(/\bimgapi-[0-9a-f]{12}/g, 'imgapi-BUNDLE')
    .replace(/\b(?!1{8}|2{8}|3{8}|9{8})[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'JOB')
  // What was longer or shorter has moved what stands beside it.
  return normal !== text && /^[A-Z]+ {2,}[A-Z]/.test(text) ? normal.replace(/ {3,}/g, '  ') : normal
}

/** Files that are fetched at once end in any order. */
export function inOrder(screen: string): string {
  const lines = screen.split('\n')
  const ended = lines.filter((line) => /^done {2,}/.test(line)).toSorted()
  return lines.map((line) => (/^done {2,}/.test(line) ? ended.shift() : line)).join('\n')
}

/** What stays on a terminal of what was drawn there: each drawing erases the one before it. */
export function screenOf(out: string): string {
  const lines: string[] = []
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal obeys
  for (const [index, part] of out.split(/\r\u001b\[(\d+)A\u001b\[J/).entries()) {
    if (index % 2 === 1) lines.splice(-Number(part))
    else lines.push(...part.split('\n').slice(0, -1))
  }
  return lines.map((line) => `${line}\n`).join('')
}
