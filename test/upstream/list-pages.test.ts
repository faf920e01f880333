import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../src/errors.js'
import type { Uuid } from '../../src/images/uuid.js'
import { PAGE_LENGTH, type PageQuery, walkPages } from '../../src/upstream/list-pages.js'
import { PageTally } from '../../src/upstream/page-tally.js'

interface Listed {
  uuid: string
  ms: number
}

/** `count` images, `perInstant` of them at each instant. */
const images = (count: number, perInstant = 1): Listed[] =>
  Array.from({ length: count }, (_, index) => ({ uuid: `i${index}`, ms: 1000 + Math.floor(index / perInstant) }))

/** Walks the pages of a server that `answer` describes, and tells what was seen and asked. */
async function walk(answer: (query: PageQuery | undefined, call: number) => Listed[]) {
  const seen = new Set<string>()
  const queries: (PageQuery | undefined)[] = []
  const walked = await walkPages(async (query) => {
    queries.push(query)
    const page = new PageTally(query?.marker)
    for (const { uuid, ms } of answer(query, queries.length)) {
      page.length += 1
      page.pass(uuid as Uuid, ms, !seen.has(uuid))
      seen.add(uuid)
    }
    return page
  })
  return { ...walked, seenCount: seen.size, queries }
}

const msOf = (all: Listed[], query: PageQuery | undefined) => all.find(({ uuid }) => uuid === query?.marker)?.ms ?? 0

describe('walkPages', () => {
  it('asks once, without limit and marker, when fewer than 1,000 images come', async () => {
    expect(await walk(() => images(999))).toMatchObject({ queries: [undefined], seenCount: 999, isInFirstPage: true })
  })

  it('follows inclusive markers to the end', async () => {
    const all = images(3500)
    const found = await walk((query) => all.filter(({ ms }) => ms >= msOf(all, query)).slice(0, query?.limit ?? 1000))
    expect(found).toMatchObject({ seenCount: 3500, incomplete: undefined, isInFirstPage: false })
    expect(found.queries[1]).toEqual({ marker: 'i999', limit: PAGE_LENGTH })
  })

  it('does not miss the rest of an instant when markers are exclusive', async () => {
    const all = images(3500, 7)
    const found = await walk((query) => all.filter(({ ms }) => ms > msOf(all, query)).slice(0, query?.limit ?? 1000))
    expect(found).toMatchObject({ seenCount: 3500, incomplete: undefined })
  })

  it('asks for longer pages when more than 1,000 images share an instant', async () => {
    const all = [...images(500), ...images(5000, 5000).map(({ uuid }) => ({ uuid: `x${uuid}`, ms: 9000 }))]
    all.push(...images(700).map(({ uuid, ms }) => ({ uuid: `y${uuid}`, ms: ms + 100_000 })))
    const found = await walk((query) => all.filter(({ ms }) => ms >= msOf(all, query)).slice(0, query?.limit ?? 1000))
    expect(found).toMatchObject({ seenCount: all.length, incomplete: undefined })
  })

  it('finds everything when equal dates come in another order every time', async () => {
    const all = images(4000, 1300)
    const shuffled = (call: number) =>
      [...all].sort((a, b) => a.ms - b.ms || hash(`${call}${a.uuid}`) - hash(`${call}${b.uuid}`))
    const found = await walk((query, call) =>
      shuffled(call)
        .filter(({ ms }) => ms >= msOf(all, query))
        .slice(0, query?.limit ?? 1000),
    )
    expect(found).toMatchObject({ seenCount: 4000, incomplete: undefined })
  })

  it.each([
    ['oldest first', (all: Listed[]) => all],
    ['newest first', (all: Listed[]) => [...all].reverse()],
  ])('is content with a server that ignores limit and marker, %s', async (_order, order) => {
    for (const count of [1000, 1001, 2000, 2500]) {
      const found = await walk(() => order(images(count)))
      expect(found).toMatchObject({ seenCount: count, incomplete: undefined, isInFirstPage: true })
      expect(found.queries.length).toBeLessThanOrEqual(3)
    }
  })

  it('grows the limit when the server ignores the marker only', async () => {
    const found = await walk((query) => images(2500).slice(0, query?.limit ?? 1000))
    expect(found).toMatchObject({ seenCount: 2500, incomplete: undefined })
  })

  it('says so when pages are cut within one instant', async () => {
    const all = images(1500, 1500)
    const found = await walk((query) => all.filter(({ ms }) => ms >= msOf(all, query)).slice(0, 1000))
    expect(found.incomplete).toMatch('share one published_at')
  })

  it('says so when the list never ends', async () => {
    let next = 0
    const found = await walk(() => Array.from({ length: 1000 }, () => ({ uuid: `n${next++}`, ms: next })))
    expect(found.incomplete).toMatch('did not end')
    expect(found.queries.length).toBe(1000)
  })

  it('keeps what it has when the server cannot page, and says so', async () => {
    const found = await walk((query) => {
      if (query) throw new MirrorError('UPSTREAM_MISBEHAVED', 'answered 422')
      return images(1000)
    })
    expect(found).toMatchObject({ seenCount: 1000, incomplete: 'answered 422', isInFirstPage: false })
  })

  it('fails when the server cannot be reached any more', async () => {
    const broken = walk((query) => {
      if (query) throw new MirrorError('UPSTREAM_UNREACHABLE', 'cut')
      return images(1000)
    })
    await expect(broken).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  })
})

function hash(text: string): number {
  let value = 7
  for (const character of text) value = (value * 31 + character.charCodeAt(0)) % 1_000_003
  return (value * 7919) % 1_000_003
}
