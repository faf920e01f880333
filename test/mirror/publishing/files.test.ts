import { createHash, randomBytes } from 'node:crypto'
import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Uuid } from '../../../src/images/uuid.js'
import { uuid } from '../../images/manifests.js'
import { by, makePublishingRig, manifestOf } from './publishing-rig.js'

const KIB = 1024
const sha1Of = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex')
const sha256Of = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** A mirror with one image that waits for its file. */
async function makeRig(more: Parameters<typeof makePublishingRig>[0] = {}) {
  const rig = await makePublishingRig(more)
  await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
  const filesOf = async (image: Uuid) => (await rig.get(image)).files
  return { ...rig, publishing: rig.publishing, store: rig.store, rig, filesOf }
}

/** A body that is under way until the test says otherwise. */
function openBody(bytes: Buffer): PassThrough {
  const body = new PassThrough()
  body.write(bytes)
  return body
}

describe('a file that is uploaded', () => {
  it.each([
    ['announces its length', (bytes: Buffer) => bytes],
    ['does not', (bytes: Buffer) => Readable.from([bytes.subarray(0, 10), bytes.subarray(10)], { objectMode: false })],
  ])("is the image's, measured here, when it %s", async (_what, bodyOf) => {
    const { rig, publishing, filesOf } = await makeRig()
    const bytes = randomBytes(300 * KIB)
    const upload = rig.upload(bodyOf(bytes), { compression: 'gzip', sha1: sha1Of(bytes), datasetGuid: '42' })
    const manifest = await publishing.addFile(uuid(1), upload, by)
    expect(JSON.parse(manifest.json).files).toEqual([
      { sha1: sha1Of(bytes), size: bytes.length, compression: 'gzip', dataset_guid: '42' },
    ])
    expect(await filesOf(uuid(1))).toHaveLength(1)
    await publishing.activate(uuid(1), by)
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
    expect(rig.blobs()).toEqual([sha256Of(bytes)])
    expect(await rig.partials()).toEqual([])
  })

  it('says who brought it', async () => {
    const { rig, publishing } = await makeRig()
    await publishing.addFile(uuid(1), rig.upload(Buffer.from('12345')), by)
    expect(rig.store.images.get(uuid(1))!.files[0]!.extents).toEqual([
      { startBytes: 0, endBytes: 5, upstream: '', location: 'uploaded by builder from 127.0.0.1' },
    ])
  })

  const bytes = randomBytes(100 * KIB)
  const whole = () => bytes
  const cut = () => {
    const body = openBody(bytes.subarray(0, 70 * KIB))
    setImmediate(() => body.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' })))
    return body
  }
  it.each([
    [
      'its SHA-1 is another',
      whole,
      { sha1: '0'.repeat(40) },
      `"sha1" hash, ${'0'.repeat(40)}, does not match the uploaded file sha1 hash, ${sha1Of(bytes)}`,
    ],
    [
      'its MD5 is another',
      whole,
      { contentMd5: `${'A'.repeat(22)}==` },
      `Content-MD5 '${'A'.repeat(22)}==' didn't match '${createHash('md5').update(bytes).digest('base64')}'`,
    ],
    ['its SHA-1 is none', whole, { sha1: 'nonsense' }, `"sha1" hash, nonsense, does not match`],
    ['it is empty', () => Buffer.alloc(0), {}, 'image file size is 0 bytes, empty files are not allowed'],
    [
      'it is empty and did not say so',
      () => Readable.from([]),
      {},
      'image file size is 0 bytes, empty files are not allowed',
    ],
    ['it is cut', cut, { sizeBytes: bytes.length }, 'the upload was cut after'],
    ['it is cut and never said its length', cut, {}, 'the upload was cut after'],
    [
      'it is shorter than announced',
      whole,
      { sizeBytes: bytes.length + 1 },
      `"Content-Length" header, ${bytes.length + 1}, does not match uploaded size, ${bytes.length}`,
    ],
    [
      'it is longer than announced',
      whole,
      { sizeBytes: 10 },
      '"Content-Length" header, 10, does not match uploaded size,',
    ],
  ])('leaves nothing when %s, and can be sent again', async (_fault, bodyOf, upload, complaint) => {
    const { rig, publishing, filesOf } = await makeRig()
    const failing = publishing.addFile(uuid(1), rig.upload(bodyOf(), upload), by)
    await expect(failing).rejects.toMatchObject({
      code: 'DOWNLOAD_REFUSED',
      message: expect.stringContaining(complaint),
    })
    expect(await filesOf(uuid(1))).toEqual([])
    expect(rig.blobs()).toEqual([])
    expect(await rig.partials()).toEqual([])
    expect(rig.store.blobs.receivingBytes).toBe(0)
    await expect(publishing.activate(uuid(1), by)).rejects.toMatchObject({ code: 'NO_FILE' })
    await publishing.addFile(uuid(1), rig.upload(bytes, { sha1: sha1Of(bytes) }), by)
    await publishing.activate(uuid(1), by)
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
  })

  it('is refused before a byte of it is read when 21 GiB are announced', async () => {
    const { rig, publishing } = await makeRig()
    const body = openBody(Buffer.from('x'))
    const sizeBytes = 21 * 1024 ** 3
    await expect(publishing.addFile(uuid(1), rig.upload(body, { sizeBytes }), by)).rejects.toMatchObject({
      code: 'UPLOAD_REFUSED',
      message: `image file size ${sizeBytes} (from Content-Length) exceeds the maximum allowed size, 20 GiB`,
    })
    expect({ isDestroyed: body.destroyed, leftBytes: body.readableLength }).toEqual({
      isDestroyed: false,
      leftBytes: 1,
    })
  })

  it('leaves the connection it came on to whoever has to answer, when it is refused', async () => {
    const { rig, publishing } = await makeRig()
    const body = openBody(randomBytes(100))
    await expect(publishing.addFile(uuid(1), rig.upload(body, { sizeBytes: 10 }), by)).rejects.toThrow('Content-Length')
    expect(body.destroyed).toBe(false)
  })

  it('ends when its client leaves, and leaves nothing', async () => {
    const { rig, publishing } = await makeRig()
    const client = new AbortController()
    const body = openBody(randomBytes(100 * KIB))
    const sending = publishing.addFile(uuid(1), rig.upload(body, { sizeBytes: 200 * KIB, signal: client.signal }), by)
    while (body.readableLength > 0) await new Promise((resolve) => setImmediate(resolve))
    client.abort(new Error('the client has left'))
    await expect(sending).rejects.toMatchObject({ code: 'DOWNLOAD_REFUSED' })
    expect(body.destroyed).toBe(true)
    expect(await rig.partials()).toEqual([])
  })

  it('ends when the mirror closes, and leaves nothing', async () => {
    const { rig, publishing } = await makeRig()
    const sending = publishing.addFile(uuid(1), rig.upload(openBody(randomBytes(KIB)), { sizeBytes: 200 * KIB }), by)
    const ended = expect(sending).rejects.toMatchObject({ code: 'CLOSING' })
    await rig.reopen()
    await ended
    expect(await rig.partials()).toEqual([])
    expect((await rig.get(uuid(1))).files).toEqual([])
  })

  it('takes the place of the one before, whose bytes leave', async () => {
    const { rig, publishing } = await makeRig()
    const [first, second] = [randomBytes(KIB), randomBytes(KIB)]
    await publishing.addFile(uuid(1), rig.upload(first), by)
    await publishing.addFile(uuid(1), rig.upload(second), by)
    expect(rig.blobs()).toEqual([sha256Of(second)])
    expect((await rig.read(uuid(1))).equals(second)).toBe(true)
  })

  it('is one blob with a file that is here already, which stays as long as one image needs it', async () => {
    const { rig, publishing } = await makeRig()
    const bytes = randomBytes(KIB)
    await rig.publish(uuid(2), bytes)
    await publishing.addFile(uuid(1), rig.upload(bytes), by)
    expect(rig.blobs()).toEqual([sha256Of(bytes)])
    await publishing.addFile(uuid(1), rig.upload(randomBytes(KIB)), by)
    expect((await rig.read(uuid(2))).equals(bytes)).toBe(true)
    await publishing.delete(uuid(2), { ...by, forceAllChannels: false })
    expect(rig.blobs()).not.toContain(sha256Of(bytes))
  })

  it('does not change an image that is active, nor one that became so while it came', async () => {
    const { rig, publishing } = await makeRig()
    const [first, second] = [randomBytes(KIB), randomBytes(2 * KIB)]
    await publishing.addFile(uuid(1), rig.upload(first), by)
    const body = openBody(second.subarray(0, KIB))
    const sending = publishing.addFile(uuid(1), rig.upload(body, { sizeBytes: second.length }), by)
    await publishing.activate(uuid(1), by)
    body.end(second.subarray(KIB))
    await expect(sending).rejects.toMatchObject({ code: 'ALREADY_ACTIVATED' })
    await expect(publishing.addFile(uuid(1), rig.upload(second), by)).rejects.toMatchObject({
      code: 'FILES_IMMUTABLE',
      message: `cannot modify files on activated image ${uuid(1)}`,
    })
    expect(rig.blobs()).toEqual([sha256Of(first)])
    expect((await rig.read(uuid(1))).equals(first)).toBe(true)
  })

  it("of two at once, the one that ends last is the image's, and the other leaves", async () => {
    const { rig, publishing } = await makeRig()
    const [slow, fast] = [randomBytes(100 * KIB), randomBytes(100 * KIB)]
    const body = openBody(slow.subarray(0, KIB))
    const sending = publishing.addFile(uuid(1), rig.upload(body, { sizeBytes: slow.length }), by)
    await publishing.addFile(uuid(1), rig.upload(fast), by)
    expect((await rig.read(uuid(1))).equals(fast)).toBe(true)
    body.end(slow.subarray(KIB))
    await sending
    expect((await rig.read(uuid(1))).equals(slow)).toBe(true)
    expect(rig.blobs()).toEqual([sha256Of(slow)])
  })

  it('of two at once with the same bytes is one blob, and stays', async () => {
    const { rig, publishing } = await makeRig()
    const same = randomBytes(500 * KIB)
    await Promise.all([1, 2, 3].map(() => publishing.addFile(uuid(1), rig.upload(same), by)))
    expect(rig.blobs()).toEqual([sha256Of(same)])
    expect((await rig.read(uuid(1))).equals(same)).toBe(true)
  })

  it('of many at once for one image leaves nothing of the others', async () => {
    const { rig, publishing } = await makeRig()
    const files = Array.from({ length: 6 }, () => randomBytes(200 * KIB))
    await Promise.all(files.map((bytes) => publishing.addFile(uuid(1), rig.upload(bytes), by)))
    const winner = files.find((bytes) => rig.blobs().includes(sha256Of(bytes)))!
    expect(rig.blobs()).toEqual([sha256Of(winner)])
    expect((await rig.read(uuid(1))).equals(winner)).toBe(true)
  })

  it('stays when another image with the same bytes is deleted at that moment', async () => {
    const { rig, publishing } = await makeRig()
    const same = randomBytes(64 * KIB)
    for (let round = 0; round < 20; round++) {
      const [old, anew] = [uuid(100 + round), uuid(200 + round)]
      await rig.publish(old, same)
      await publishing.import(anew, manifestOf(anew), by)
      const body = openBody(same.subarray(0, KIB))
      const sending = publishing.addFile(anew, rig.upload(body, { sizeBytes: same.length }), by)
      body.end(same.subarray(KIB))
      // Sometimes before it is kept, sometimes after.
      for (let turn = 0; turn < round * 3; turn++) await new Promise((resolve) => setImmediate(resolve))
      await Promise.all([sending, publishing.delete(old, { ...by, forceAllChannels: false })])
      await publishing.activate(anew, by)
      expect((await rig.read(anew)).equals(same)).toBe(true)
      await publishing.delete(anew, { ...by, forceAllChannels: false })
      expect(rig.blobs()).toEqual([])
    }
  })

  it("is nobody's when its image is deleted while it comes", async () => {
    const { rig, publishing } = await makeRig()
    const bytes = randomBytes(2 * KIB)
    const body = openBody(bytes.subarray(0, KIB))
    const sending = publishing.addFile(uuid(1), rig.upload(body, { sizeBytes: bytes.length }), by)
    await publishing.delete(uuid(1), { ...by, forceAllChannels: false })
    body.end(bytes.subarray(KIB))
    await expect(sending).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
    expect(rig.blobs()).toEqual([])
  })

  it('finds room within the quota, but not by sending away what was published here', async () => {
    const keeping = { quotaBytes: async () => 300 * KIB, pins: [], scrub: undefined, verifyOnRead: 'never' as const }
    const { rig, publishing } = await makeRig({ keeping })
    await rig.publish(uuid(2), randomBytes(200 * KIB))
    for (const isAnnounced of [true, false]) {
      const bytes = randomBytes(200 * KIB)
      const pieces = Array.from({ length: 20 }, (_, index) => bytes.subarray(index * 10 * KIB, (index + 1) * 10 * KIB))
      const body = isAnnounced ? bytes : Readable.from(pieces, { objectMode: false })
      await expect(publishing.addFile(uuid(1), rig.upload(body), by)).rejects.toMatchObject({
        code: 'STORE_FULL',
        message: isAnnounced
          ? expect.stringMatching(`^no room for a file of ${bytes.length} bytes: \\d+ bytes are free, and nothing more`)
          : 'no room for more of an upload, and nothing more may be let go of',
      })
    }
    await publishing.addFile(uuid(1), rig.upload(randomBytes(90 * KIB)), by)
    expect(rig.blobs()).toHaveLength(2)
    expect(rig.mirror.status().keeping.room.evictedBytes).toBe(0)
  })
})
