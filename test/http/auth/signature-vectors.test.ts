import { expect, it } from 'vitest'
import { serveMirror } from '../../support/imgapi-server.js'
import { INTENDED } from '../../support/intended-differences.js'
import { makeSshKey, signedDate } from '../../support/ssh-keys.js'
import { authenticatorOf, basic } from '../../support/users.js'
import { vectors } from '../../support/vectors.js'

interface Exchange {
  readonly request: string
  readonly note: string
  readonly status: number
  readonly body: { code: string; message: string } | string
}

const exchanges = vectors<Exchange[]>('imgapiRequests')
  .map((exchange, number) => ({ ...exchange, number }))
  .filter(({ request }) => request === 'GET /state')

const key = makeSshKey('rsa')
/** Where the clock of the authenticator stands. */
const NOW_MS = Date.parse('Mon, 05 Jan 2026 12:00:00 GMT')
const at = (ms: number, algorithm = 'rsa-sha256', keyId = 'alice') =>
  signedDate(keyId, key, { algorithm, date: new Date(ms).toUTCString() })
const good = at(NOW_MS)
const spelled = (change: (authorization: string) => string) => ({ ...good, authorization: change(good.authorization) })

/** What the reference was sent, by the note in the vectors. */
const SENT: Record<string, Record<string, string>> = {
  'no auth': {},
  'good rsa-sha256': good,
  'good rsa-sha1': at(NOW_MS, 'rsa-sha1'),
  'unknown user': at(NOW_MS, 'rsa-sha256', 'nobody'),
  'signature over another date': { ...at(NOW_MS - 1000), date: good.date },
  'date 400 s old': at(NOW_MS - 400_000),
  'date 400 s ahead': at(NOW_MS + 400_000),
  'no Date header': { authorization: good.authorization },
  Basic: basic('alice', 'geheim'),
  'scheme lower case': spelled((text) => text.replace('Signature', 'signature')),
  'space after comma': spelled((text) => text.replaceAll(',', ', ')),
  'params missing': { ...good, authorization: 'Signature keyId="alice"' },
  'hmac-sha256': spelled((text) => text.replace('rsa-sha256', 'hmac-sha256')),
  'algorithm upper case': spelled((text) => text.replace('rsa-sha256', 'RSA-SHA256')),
  'headers="date" explicit': spelled((text) => text.replace(',signature=', ',headers="date",signature=')),
}

/** By number in the vectors, as which row of docs/imgapi.md. */
const DIFFERENCES: Record<number, { as: string; message: string }> = {
  75: { as: 'basic', message: 'Unauthorized' },
}

it('knows every exchange, and differs only as docs/imgapi.md says', () => {
  expect(exchanges.map(({ note }) => note).sort()).toEqual(Object.keys(SENT).sort())
  for (const { as } of Object.values(DIFFERENCES)) expect(INTENDED.has(as), as).toBe(true)
})

it.each(exchanges)('$number: $request, $note, is answered as by sdc-imgapi', async ({ number, note, status, body }) => {
  const authenticator = await authenticatorOf([{ name: 'alice', sshKeyFiles: ['alice.pub'] }], {
    files: { 'alice.pub': key.line },
  })
  const { url } = await serveMirror({}, { authenticator })
  const response = await fetch(`${url}/state`, { headers: SENT[note]! })
  expect(response.status).toBe(status)
  const answer = await response.json()
  if (typeof body === 'string') return // as the reference likes
  const message = DIFFERENCES[number]?.message ?? body.message.replace('<seconds>', '400')
  expect(answer).toEqual({ ...body, message })
})
