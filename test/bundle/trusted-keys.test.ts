import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TrustedKeys } from '../../src/bundle/trusted-keys.js'
import { formatBundleIndex } from '../../src/images/bundle/format-bundle-index.js'
import { openStore } from '../../src/store/open-store.js'
import { bundleIndex } from '../images/bundle/bundles.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { makeSigner } from './signers.js'

const bundleJson = formatBundleIndex(bundleIndex())

function runMinisign(...args: string[]) {
  const { error, status, stderr, stdout } = spawnSync('minisign', args, { encoding: 'utf8' })
  if (error) throw error
  return { status, said: stdout + stderr }
}

describe('the keys we trust', () => {
  const ours = makeSigner()
  const theirs = makeSigner()
  const signature = ours.sign(bundleJson, 'bundle')

  it('say who signed', () => {
    expect(TrustedKeys.of([ours.publicKey]).verify(bundleJson, signature)).toEqual({ key: ours.key, isTrusted: true })
    expect(TrustedKeys.of([theirs.publicKey]).and(ours.publicKey).verify(bundleJson, signature)?.isTrusted).toBe(true)
    expect(TrustedKeys.of([theirs.publicKey]).names).toEqual([theirs.key])
  })

  it('take the word of nobody else, but tell whose it would be', () => {
    const trusted = TrustedKeys.of([theirs.publicKey])
    expect(trusted.verify(bundleJson, signature)).toEqual({ key: ours.key, isTrusted: false })
    expect(TrustedKeys.of([]).verify(bundleJson, signature)?.isTrusted).toBe(false)
  })

  it.each([
    ['of another text', Buffer.from('other'), signature],
    ['with another comment', bundleJson, signature.replace('trusted comment: bundle', 'trusted comment: bundlf')],
    ['cut', bundleJson, signature.slice(0, 80)],
    ['nothing', bundleJson, ''],
    ['something else', bundleJson, 'a\nb\nc\nd'],
    ['whose name was changed to a key we trust', bundleJson, withNameOf(ours.publicKey, theirs.sign(bundleJson, 'x'))],
  ])('see that a signature is %s', (_fault, text, said) => {
    expect(TrustedKeys.of([ours.publicKey]).verify(text, said)).toBeUndefined()
  })

  it('make signatures that minisign itself verifies, and takes back no change', async () => {
    const directory = await temporaryDirectory()
    const store = await openStore({
      directory: join(directory, 'data'),
      log: new RecordingLog(),
    })
    try {
      const signer = await store.signer()
      const path = join(directory, 'bundle.json')
      await writeFile(path, bundleJson)
      await writeFile(`${path}.minisig`, signer.sign(bundleJson, 'signed at 2026-01-01T00:00:00.000Z'))
      await writeFile(join(directory, 'site.pub'), signer.publicKey)
      const verified = runMinisign('-V', '-p', join(directory, 'site.pub'), '-m', path)
      expect(verified).toMatchObject({ status: 0, said: expect.stringContaining('signed at 2026-01-01') })
      await writeFile(path, Buffer.concat([bundleJson, Buffer.from(' ')]))
      expect(runMinisign('-V', '-p', join(directory, 'site.pub'), '-m', path).status).not.toBe(0)
    } finally {
      await store.close()
    }
  })

  it('take what minisign itself has signed', async () => {
    const directory = await temporaryDirectory()
    const [key, secret, path] = ['site.pub', 'site.key', 'bundle.json'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ]
    expect(runMinisign('-G', '-W', '-p', key, '-s', secret).status).toBe(0)
    await writeFile(path, bundleJson)
    expect(runMinisign('-S', '-s', secret, '-m', path).status).toBe(0)
    const trusted = TrustedKeys.of([await readFile(key, 'utf8')])
    expect(trusted.verify(bundleJson, await readFile(`${path}.minisig`, 'utf8'))?.isTrusted).toBe(true)
  })

  it('are one key for the ledger and for bundles, however early both need it', async () => {
    const store = await openStore({
      directory: await temporaryDirectory(),
      log: new RecordingLog(),
    })
    try {
      store.ledger.append('started', undefined, {})
      const [head, signer, again] = await Promise.all([store.ledger.sign(), store.signer(), store.signer()])
      expect(signer.key).toBe(head.key)
      expect(again.publicKey).toBe(signer.publicKey)
    } finally {
      await store.close()
    }
  })
})

/** A signature that claims to be of another key. */
function withNameOf(publicKey: string, signature: string): string {
  const id = Buffer.from(publicKey.trim().split('\n').at(-1)!, 'base64').subarray(2, 10)
  const lines = signature.split('\n')
  const bytes = Buffer.from(lines[1]!, 'base64')
  id.copy(bytes, 2)
  lines[1] = bytes.toString('base64')
  return lines.join('\n')
}
