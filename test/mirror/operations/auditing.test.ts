import { X509Certificate } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openLedger } from '../../../src/assemble/open-ledger.js'
import { ENDPOINTS } from '../../../src/http/operator/api/endpoints.js'
import type { AuditReport } from '../../../src/mirror/operations/audit-report.js'
import { formatReportAsCsv, formatReportAsHtml } from '../../../src/mirror/operations/format-report.js'
import { verifyLedger } from '../../../src/mirror/operations/verify-ledger.js'
import { runCommand } from '../../cli/run-command.js'
import { makeImage, sha1, sha256, uuidOf } from '../../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../../support/running-mirror.js'
import { temporaryDirectory } from '../../support/temporary.js'
import { makeCertificates } from '../../support/upstreams/certificates.js'
import { startSdcImgapi } from '../../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../../support/upstreams/serve.js'

const BYTES = Buffer.from('the bytes of an image file')

/** A mirror that has pulled one image over TLS, and served it twice. */
async function auditedMirror() {
  const certificates = await makeCertificates()
  const image = makeImage({}, BYTES)
  const images: ServedImage[] = [image]
  const upstream = await startSdcImgapi({ images, tls: certificates.server })
  onTestFinished(() => upstream.close())
  const ca = join(await temporaryDirectory(), 'ca.pem')
  await writeFile(ca, certificates.ca)
  const mirror = await startMirror({ upstreams: [{ name: 'u', url: upstream.url, ca }] })
  await mirror.settled()
  const uuid = uuidOf(image)
  for (let time = 0; time < 2; time++) {
    expect((await (await fetch(`${mirror.url}/images/${uuid}/file`)).arrayBuffer()).byteLength).toBe(BYTES.length)
    await until(async () => (await mirror.status()).imagesHeld === 1)
  }
  return { certificates, image, images, mirror, upstream, uuid }
}

/** Asks an endpoint of the operator API, and holds its answer to what it promises. */
// biome-ignore lint/suspicious/noExplicitAny: what it is, its schema says
async function ask(mirror: RunningMirror, method: string, path: string, body?: object): Promise<any> {
  const init = { method, ...(method !== 'GET' && { body: JSON.stringify(body ?? {}) }) }
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${mirror.operatorUrl}${path}`, { ...init, headers })
  const answer: unknown = await response.json()
  expect(response.status, JSON.stringify(answer)).toBe(200)
  const endpoint = ENDPOINTS.find((each) => each.method === method && each.path === path.split('?')[0])!
  expect(endpoint.answer.safeParse(answer).error?.issues ?? []).toEqual([])
  return answer
}

function cli(...args: string[]) {
  return runCommand(args, { openLedger })
}

describe('an audit', () => {
  it('knows where each byte came from, who that proved to be, and what was measured', async () => {
    const { certificates, mirror, upstream, uuid } = await auditedMirror()
    const { items } = await ask(mirror, 'GET', `/api/audit/log?image=${uuid}`)
    expect(items.map(({ kind }: { kind: string }) => kind)).toEqual(['claimed', 'pulled', 'verified', 'held'])
    const certificate = new X509Certificate(certificates.server.cert)
    expect(items[1].facts).toMatchObject({
      extents: [{ upstream: 'u', startBytes: 0, endBytes: BYTES.length }],
      servers: [
        {
          upstream: 'u',
          server: upstream.url,
          tls: {
            fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
            issuer: 'CN=test authority',
            isTrusted: true,
          },
        },
      ],
    })
    expect(items[2].facts).toMatchObject({ sha1: sha1(BYTES), sha256: sha256(BYTES), sizeBytes: BYTES.length })
    await mirror.close()
    const after = await openLedger(mirror.dataDirectory).newest(undefined, 100)
    expect(after.find(({ kind }) => kind === 'served')).toMatchObject({ image: uuid, facts: { times: 2 } })
    const kinds = after.map(({ kind }) => kind)
    expect(kinds).toContain('config-loaded')
    expect(kinds.slice(-2)).toEqual(['stopped', 'head'])
  })

  it('reports what is held, as JSON, as a table and as a page without scripts', async () => {
    const { mirror, uuid } = await auditedMirror()
    const report = (await ask(mirror, 'GET', '/api/audit/report')) as AuditReport
    expect(report.totals).toMatchObject({ imagesHeld: 1, bytesHeld: BYTES.length, filesPulled: 1, failures: 0 })
    expect(report.images).toMatchObject([
      {
        uuid,
        upstream: 'u',
        isGood: true,
        files: [{ sha1: sha1(BYTES), sha256: sha256(BYTES), sizeBytes: BYTES.length, isNeverRechecked: true }],
      },
    ])
    // What upstreams call their images becomes neither a formula nor a script.
    const hostile = { ...report, images: [{ ...report.images[0]!, name: '=danger<script>' }] }
    const csv = formatReportAsCsv(hostile)
    expect(csv).toContain(`held,,${uuid},'=danger<script>,`)
    const page = formatReportAsHtml(hostile)
    expect(page).not.toContain('<script')
    expect(page).toContain(sha256(BYTES))
    expect(page).toContain(report.head!.signature.split('\n')[1])
    const before = (await ask(mirror, 'GET', '/api/audit/report?until=2020-01-01T00:00:00Z')) as AuditReport
    expect(before.images).toEqual([])
  })

  it('tells every difference between what upstreams claim now and what is held', async () => {
    const { image, images, mirror, uuid } = await auditedMirror()
    expect(await ask(mirror, 'POST', '/api/audit/compare')).toMatchObject({
      imagesHeld: 1,
      upstreams: [{ name: 'u', compared: 1, error: null }],
      discrepancies: [],
    })
    const [file] = image.manifest.files as Record<string, unknown>[]
    images[0] = { ...image, manifest: { ...image.manifest, files: [{ ...file, sha1: 'f'.repeat(40) }] } }
    const changed = await ask(mirror, 'POST', '/api/audit/compare')
    expect(changed.discrepancies).toMatchObject([{ upstream: 'u', uuid, claimed: [{ sha1: 'f'.repeat(40) }] }])
    images.length = 0
    const withdrawn = await ask(mirror, 'POST', '/api/audit/compare')
    expect(withdrawn.discrepancies).toMatchObject([{ uuid, differences: ['the upstream has it no more'] }])
  })

  it('finds that the end was cut off, by a head that was kept elsewhere', async () => {
    const { mirror } = await auditedMirror()
    const head = await ask(mirror, 'POST', '/api/audit/head')
    expect(
      await ask(mirror, 'POST', '/api/audit/verify', { heads: [`${head.text}\n${head.signature}`] }),
    ).toMatchObject({
      isIntact: true,
      heads: [{}, { isSigned: true, complaint: null }],
    })
    await mirror.close()
    const data = mirror.dataDirectory
    const kept = join(data, 'kept-elsewhere.txt')
    await writeFile(kept, `${head.text}\n${head.signature}`)
    expect(await cli('audit', 'verify', '--data', data, '--head', kept)).toMatchObject({ code: 0 })

    const path = join(data, 'ledger', '000001.jsonl')
    const lines = (await readFile(path, 'utf8')).split('\n')
    await writeFile(path, `${lines.slice(0, 3).join('\n')}\n`)
    for (const name of ['head', 'head.minisig']) await rm(join(data, 'ledger', name))
    // A chain that is merely shorter is a chain.
    expect(await verifyLedger(openLedger(data), {})).toMatchObject({ isIntact: true })
    for (const said of [
      kept,
      `${head.entries} ${head.hash}`,
      JSON.stringify({ entries: head.entries, hash: head.hash }),
    ]) {
      const { code, out } = await cli('audit', 'verify', '--data', data, '--head', said)
      expect(code).toBe(1)
      expect(out).toContain('the end of the ledger is missing: it has 3 entries')
    }
  })

  it('names who pinned, unpinned and deleted an image, and no longer reports it as held', async () => {
    const { mirror, uuid } = await auditedMirror()
    const act = async (method: string, path: string, operator: string, body?: object) => {
      const headers = { 'x-operator': operator, 'content-type': 'application/json' }
      const init = { method, headers, ...(body && { body: JSON.stringify(body) }) }
      expect((await fetch(`${mirror.operatorUrl}/api/images/${uuid}${path}`, init)).status).toBe(200)
    }
    await act('PUT', '/pin', 'alice', { reason: 'all zones build on it' })
    await act('DELETE', '/pin', 'bob')
    // Nothing is pinned any more: nothing happens.
    await act('DELETE', '/pin', 'bob')
    await act('DELETE', '', 'carol')
    const { items } = await ask(mirror, 'GET', `/api/audit/log?image=${uuid}&limit=3`)
    expect(items).toMatchObject([
      { kind: 'pinned', facts: { by: 'alice', reason: 'all zones build on it' } },
      { kind: 'unpinned', facts: { by: 'bob' } },
      { kind: 'deleted', facts: { by: 'carol', sha256s: [sha256(BYTES)], sizeBytes: BYTES.length } },
    ])
    const report = (await ask(mirror, 'GET', '/api/audit/report')) as AuditReport
    expect(report.images).toEqual([])
    expect(report.changes.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['pinned', 'unpinned', 'deleted']))
  })

  it('takes a crash between the two files of a head for what it is', async () => {
    const { mirror } = await auditedMirror()
    await ask(mirror, 'POST', '/api/audit/head')
    const signature = join(mirror.dataDirectory, 'ledger', 'head.minisig')
    const older = await readFile(signature)
    await mirror.close()
    expect((await readFile(signature)).equals(older)).toBe(false)
    await writeFile(signature, older)
    expect(await verifyLedger(openLedger(mirror.dataDirectory), {})).toMatchObject({
      isIntact: true,
      heads: [{ from: 'ledger/head', isSigned: true, complaint: null }],
    })
    // A head that the ledger does not know needs a signature of its own.
    const head = join(mirror.dataDirectory, 'ledger', 'head')
    await writeFile(head, (await readFile(head, 'utf8')).replace(/^at: 20/m, 'at: 19'))
    const { heads, isIntact } = await verifyLedger(openLedger(mirror.dataDirectory), {})
    expect([isIntact, heads[0]!.complaint]).toEqual([false, 'it is not signed by the key of this mirror'])
  })

  it('believes no head and no key but the mirror’s own', async () => {
    const { mirror } = await auditedMirror()
    const other = await startMirror()
    const [own, foreign] = [await ask(mirror, 'POST', '/api/audit/head'), await ask(other, 'POST', '/api/audit/head')]
    const forged = `${own.text}\n${foreign.signature}`
    const { heads, isIntact } = await ask(mirror, 'POST', '/api/audit/verify', { heads: [forged] })
    expect(isIntact).toBe(false)
    expect(heads[1].complaint).toContain('not signed by the key of this mirror')
    const withKey = await ask(mirror, 'POST', '/api/audit/verify', { publicKey: foreign.publicKey })
    expect(withKey).toMatchObject({
      isIntact: false,
      keyComplaint: expect.stringContaining('is not the one that was given'),
    })
  })

  it('is made on the command line from the data directory, with and without a mirror', async () => {
    const { mirror, uuid } = await auditedMirror()
    const data = mirror.dataDirectory
    const asked = await cli('audit', 'head', '--url', mirror.operatorUrl)
    expect(asked.out).toMatch(/^imgapi-mirror ledger head\nentries: \d+\n/)
    const log = await cli('audit', 'log', uuid, '--data', data, '-j')
    expect(JSON.parse(log.out)).toMatchObject([
      { kind: 'claimed' },
      { kind: 'pulled' },
      { kind: 'verified' },
      { kind: 'held' },
    ])
    await mirror.close()
    const page = await cli('audit', 'report', '--data', data, '--html')
    expect(page).toMatchObject({ code: 0, out: expect.stringContaining(uuid) })
    const path = join(data, 'ledger', '000001.jsonl')
    const bytes = await readFile(path)
    bytes[bytes.indexOf('claimed')]! ^= 1
    await writeFile(path, bytes)
    const verdict = await cli('audit', 'verify', '--data', data)
    expect(verdict).toMatchObject({
      code: 1,
      out: expect.stringMatching(/WRONG: ledger\/000001.jsonl, line \d+: entry \d+ is damaged/),
    })
    expect(await cli('audit', 'report', '--data', data, '--since', 'yesterday')).toMatchObject({ code: 2 })
  })
})
