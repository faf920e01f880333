import { describe, expect, it } from 'vitest'
import { ancestryOf } from '../../src/images/ancestry.js'
import type { Manifest } from '../../src/images/manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import { image, uuid } from './manifests.js'

/** Images 1, 2, 3... of which each is the origin of the one before. */
function chain(length: number): Map<Uuid, Manifest> {
  const images = Array.from({ length }, (_, index) =>
    image({ uuid: uuid(index + 1), origin: index + 1 < length ? uuid(index + 2) : undefined }),
  )
  return new Map(images.map((each) => [each.uuid, each]))
}

/** The whole ancestry of image 1; fails when it is not. */
async function resolve(known: Map<Uuid, Manifest>, max?: number): Promise<readonly Manifest[]> {
  const { images, missing, broken } = ancestryOf(known.get(uuid(1))!, (each) => known.get(each), max)
  if (broken) throw broken
  if (missing) throw new Error(`image ${missing} not found`)
  return images
}

describe('the ancestry of an image', () => {
  it.each([1, 2, 3, 128])('goes from the image to its base, %i long', async (length) => {
    const known = chain(length)
    expect(await resolve(known)).toEqual([...known.values()])
  })

  it('refuses a longer one, naming the limit', async () => {
    const failure = { code: 'ANCESTRY_BROKEN', message: expect.stringContaining('longer than 128 images') }
    await expect(resolve(chain(129))).rejects.toMatchObject(failure)
    await expect(resolve(chain(3), 2)).rejects.toMatchObject({ message: expect.stringContaining('longer than 2') })
  })

  it('shows how far it came, and names the origin that is missing', () => {
    const known = chain(3)
    known.delete(uuid(3))
    const ancestry = ancestryOf(known.get(uuid(1))!, (each) => known.get(each))
    expect(ancestry).toEqual({ images: [known.get(uuid(1)), known.get(uuid(2))], missing: uuid(3) })
  })

  it('names the ring, without the images that only lead to it', async () => {
    const known = chain(3)
    known.set(uuid(3), image({ uuid: uuid(3), origin: uuid(2) }))
    const ring = `${uuid(2)} -> ${uuid(3)} -> ${uuid(2)}`
    const failure = { code: 'ANCESTRY_BROKEN', message: expect.stringMatching(new RegExp(`ring of origins: ${ring}$`)) }
    await expect(resolve(known)).rejects.toMatchObject(failure)
  })

  it('sees that an image is its own origin', async () => {
    const known = new Map([[uuid(1), image({ origin: uuid(1) })]])
    await expect(resolve(known)).rejects.toMatchObject({ code: 'ANCESTRY_BROKEN' })
  })
})
