import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/images/claim.js'
import type { Manifest } from '../../src/images/manifest.js'
import { ClaimLog } from '../../src/store/claim-log.js'
import type { Hearing } from '../../src/store/claim-store.js'
import { image, MD5, parsed, uuid, v1 } from '../images/manifests.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, type Step, systemError } from './faulty-file-system.js'

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const fileSystem = new FaultyFileSystem()
  const log = new RecordingLog()
  return {
    fileSystem,
    log,
    path: (upstream: string) => join(root, 'claims', `${upstream}.jsonl`),
    open: () => ClaimLog.open({ root, partial, fileSystem, log }),
    load: async () => (await ClaimLog.open({ root, partial, fileSystem, log })).load(),
  }
}

function claim(number: number, changes: Partial<Claim> = {}): Claim {
  const manifest = image({ uuid: uuid(number) })
  const heard = { firstHeardMs: 1000, lastHeardMs: 1000, withdrawnMs: undefined }
  return { upstream: 'east', manifest, whereabouts: [undefined], isListed: true, ...heard, ...changes }
}

function hearing(changes: Partial<Hearing> = {}): Hearing {
  return { upstream: 'east', heardMs: 1000, changed: [], withdrawn: [], listing: undefined, ...changes }
}

describe('ClaimLog', () => {
  it('has nothing to tell at first', async () => {
    expect(await (await makeRig()).load()).toEqual({ claims: [], listings: new Map(), damagedLines: 0 })
  })

  it('gives back every claim as it was told', async () => {
    const rig = await makeRig()
    const v1Manifest = parsed(
      v1({ uuid: uuid(3), files: [{ path: 'x', md5: MD5, sha1: image().files[0]!.digests[0]!.hex, size: 4 }] }),
    )
    const claims = [
      claim(1, { manifest: image({ uuid: uuid(1), description: 'quotes ","manifest": "\n\t größer 🎈' }) }),
      claim(2, { isListed: false, withdrawnMs: 5000, firstHeardMs: 1, lastHeardMs: 2 }),
      claim(3, { manifest: v1Manifest.statement.manifest, whereabouts: ['{"path":"x,\\"manifest\\":{}"}'] }),
      claim(4, {
        manifest: image({ uuid: uuid(4), files: [], state: 'unactivated', published_at: undefined }),
        whereabouts: [],
      }),
    ]
    await (await rig.open()).record(hearing({ changed: claims }))
    const heard = await rig.load()
    expect(heard.claims).toEqual(claims)
    expect(heard.damagedLines).toBe(0)
    expect(heard.listings.size).toBe(0)
    for (const line of (await fs.readFile(rig.path('east'), 'utf8')).trimEnd().split('\n')) JSON.parse(line)
  })

  it('gives back the channels of a claim, and none of one that was written before there were any', async () => {
    const rig = await makeRig()
    const claims = [claim(1, { channels: ['dev', 'release'] }), claim(2), claim(3, { channels: [] })]
    await (await rig.open()).record(hearing({ changed: claims }))
    expect((await fs.readFile(rig.path('east'), 'utf8')).match(/channels/g)).toHaveLength(2)
    const [first, second, third] = (await rig.load()).claims
    expect(first?.channels).toEqual(['dev', 'release'])
    expect(second).not.toHaveProperty('channels')
    expect(third?.channels).toEqual([])
  })

  it('replaces a claim by what the same upstream says later, and by no other', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    const later = claim(1, { manifest: image({ uuid: uuid(1), name: 'renamed' }), lastHeardMs: 2000 })
    const west = claim(1, { upstream: 'west' })
    await claims.record(hearing({ changed: [claim(1)] }))
    await claims.record(hearing({ upstream: 'west', changed: [west] }))
    await claims.record(hearing({ changed: [later], heardMs: 2000 }))
    expect((await rig.load()).claims).toEqual([later, west])
  })

  it('hears every listed claim again with a listing, but for those withdrawn', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    const told = [claim(1), claim(2), claim(3, { isListed: false })]
    await claims.record(hearing({ changed: told, listing: { validator: '"a"' } }))
    await claims.record(hearing({ heardMs: 2000, listing: { validator: '"b"' } }))
    await claims.record(hearing({ heardMs: 3000, withdrawn: [uuid(2)], listing: { validator: undefined } }))
    await claims.record(hearing({ heardMs: 4000, withdrawn: [uuid(2), uuid(77)], listing: { validator: '"c"' } }))
    const { claims: heard, listings } = await rig.load()
    expect(heard.map(({ firstHeardMs, lastHeardMs, withdrawnMs }) => [firstHeardMs, lastHeardMs, withdrawnMs])).toEqual(
      [
        [1000, 4000, undefined],
        [1000, 2000, 3000],
        [1000, 1000, undefined],
      ],
    )
    expect(listings).toEqual(new Map([['east', { heardMs: 4000, validator: '"c"' }]]))
  })

  it('takes a withdrawn claim back when it is told again', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    await claims.record(hearing({ changed: [claim(1)], listing: { validator: undefined } }))
    await claims.record(hearing({ heardMs: 2000, withdrawn: [uuid(1)] }))
    await claims.record(hearing({ heardMs: 3000, changed: [claim(1, { lastHeardMs: 3000 })] }))
    expect((await rig.load()).claims).toEqual([claim(1, { lastHeardMs: 3000 })])
  })

  it('shares one manifest among claims that are the same, and not among those that differ in a digest alone', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    const bare = image()
    const withMd5: Manifest = {
      ...bare,
      files: bare.files.map((file) => ({ ...file, digests: [...file.digests, { algorithm: 'md5', hex: MD5 }] })),
    }
    for (const upstream of ['east', 'north', 'west', 'south']) {
      const manifest = upstream === 'east' || upstream === 'west' ? bare : withMd5
      await claims.record(hearing({ upstream, changed: [claim(1, { upstream, manifest })] }))
    }
    const heard = new Map((await rig.load()).claims.map(({ upstream, manifest }) => [upstream, manifest]))
    expect(heard.get('east')).toBe(heard.get('west'))
    expect(heard.get('north')).toBe(heard.get('south'))
    expect(heard.get('east')).toEqual(bare)
    expect(heard.get('north')).toEqual(withMd5)
  })

  it('writes several hearings of one upstream in the order they were told', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    const names = Array.from({ length: 20 }, (_, index) => `name-${index}`)
    const tell = (name: string) => claims.record(hearing({ changed: [claim(1, { manifest: image({ name }) })] }))
    await Promise.all(names.map(tell))
    expect((await rig.load()).claims.map(({ manifest }) => manifest.name)).toEqual(['name-19'])
  })

  it('cuts off a torn end, wherever it was torn, counts it, and goes on behind what is left', async () => {
    const rig = await makeRig()
    await (await rig.open()).record(hearing({ changed: [claim(1), claim(2)] }))
    const whole = await fs.readFile(rig.path('east'))
    const firstEnd = whole.indexOf('\n') + 1
    for (let cut = firstEnd; cut < whole.length; cut += 7) {
      await fs.writeFile(rig.path('east'), whole.subarray(0, cut))
      const claims = await rig.open()
      const { claims: heard, damagedLines } = await claims.load()
      expect(heard).toEqual([claim(1)])
      expect(damagedLines).toBe(cut === firstEnd ? 0 : 1)
      await claims.record(hearing({ changed: [claim(3)] }))
      expect(await rig.load()).toMatchObject({ claims: [claim(1), claim(3)], damagedLines: 0 })
    }
  })

  it('skips a line that is damaged in the middle, and counts it', async () => {
    const rig = await makeRig()
    await (await rig.open()).record(hearing({ changed: [claim(1), claim(2), claim(3)] }))
    const content = await fs.readFile(rig.path('east'))
    content[content.indexOf('\n') + 50]! ^= 1
    await fs.writeFile(rig.path('east'), content)
    expect(await rig.load()).toMatchObject({ claims: [claim(1), claim(3)], damagedLines: 1 })
    expect(rig.log.lines).toContainEqual(
      expect.objectContaining({ level: 'warn', facts: { upstream: 'east', lines: 1 } }),
    )
  })

  it('writes a file anew that has rotten, and does not call it mended before that has worked', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    await claims.record(hearing({ changed: [claim(1), claim(2), claim(3)] }))
    const before = await fs.readFile(rig.path('east'))
    const content = Buffer.from(before)
    content[content.indexOf('\n') + 50]! ^= 1
    await fs.writeFile(rig.path('east'), content)
    const complaint = '1 lines are damaged, and 0 bytes missing'
    // What was written anew has as many bytes as what is still there.
    rig.fileSystem.before = (step, path) => {
      if (step === 'rename' && path.endsWith('.jsonl')) throw systemError('EIO')
    }
    expect(await claims.audit()).toMatchObject([{ path: rig.path('east'), complaint, isMended: false }])
    rig.fileSystem.before = () => {}
    expect(await claims.audit()).toMatchObject([{ path: rig.path('east'), complaint, isMended: true }])
    expect((await fs.readFile(rig.path('east'))).equals(before)).toBe(true)
    expect(await claims.audit()).toEqual([])
  })

  it('skips a line that is longer than any of ours without collecting it, and reads those behind it', async () => {
    const rig = await makeRig()
    await (await rig.open()).record(hearing({ changed: [claim(1)] }))
    const line = await fs.readFile(rig.path('east'))
    const long = Buffer.alloc(20 * 1024 * 1024, 'x')
    await fs.writeFile(rig.path('east'), Buffer.concat([long, Buffer.from('\n'), line]))
    expect(await rig.load()).toMatchObject({ claims: [claim(1)], damagedLines: 1 })
  })

  it('rewrites a file that is mostly outdated, and means the same as before', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    const whereabouts = ['x'.repeat(100_000)]
    const told = Array.from({ length: 5 }, (_, number) => claim(number, { whereabouts }))
    await claims.record(hearing({ changed: told, listing: { validator: '"a"' } }))
    await claims.record(hearing({ heardMs: 2000, withdrawn: [uuid(2)], listing: { validator: '"b"' } }))
    let largestBytes = 0
    for (let round = 0; round < 30; round++) {
      await claims.record(hearing({ heardMs: 3000 + round, changed: [{ ...told[0]!, lastHeardMs: 3000 + round }] }))
      largestBytes = Math.max(largestBytes, (await fs.stat(rig.path('east'))).size)
    }
    expect(largestBytes).toBeGreaterThan(1.5 * 1024 * 1024)
    expect(largestBytes).toBeLessThan(2.1 * 1024 * 1024)
    const { claims: heard, listings, damagedLines } = await rig.load()
    expect(heard.map(({ lastHeardMs, withdrawnMs }) => [lastHeardMs, withdrawnMs])).toEqual([
      [3029, undefined],
      [2000, undefined],
      [1000, 2000],
      [2000, undefined],
      [2000, undefined],
    ])
    expect(heard.map(({ manifest }) => manifest)).toEqual(told.map(({ manifest }) => manifest))
    expect(listings.get('east')).toEqual({ heardMs: 2000, validator: '"b"' })
    expect(damagedLines).toBe(0)
  })

  it.each<[Step]>([['rename'], ['syncDirectory']])('goes on when the rewriting fails at %s', async (step) => {
    const rig = await makeRig()
    const claims = await rig.open()
    const whereabouts = ['x'.repeat(300_000)]
    const tell = (name: string) =>
      claims.record(hearing({ changed: [claim(1, { manifest: image({ name }), whereabouts })] }))
    await tell('first')
    rig.fileSystem.before = (actual) => {
      if (actual === step) throw systemError('EIO')
    }
    for (let round = 0; round < 12; round++) await tell(`round-${round}`)
    expect(rig.log.lines.map((line) => line.level)).toContain('warn')
    rig.fileSystem.before = () => {}
    await tell('last')
    expect((await rig.load()).claims.map(({ manifest }) => manifest.name)).toEqual(['last'])
  })

  it.each<[Step]>([['open'], ['file.write'], ['file.sync'], ['syncDirectory']])(
    'says STORE_FULL when there is no room at %s, keeps nothing of the hearing, and recovers',
    async (step) => {
      const rig = await makeRig()
      const claims = await rig.open()
      await claims.record(hearing({ upstream: 'west', changed: [claim(1, { upstream: 'west' })] }))
      rig.fileSystem.before = (actual) => {
        if (actual === step) throw systemError('ENOSPC')
      }
      const telling = claims.record(hearing({ changed: [claim(1)] }))
      await expect(telling).rejects.toMatchObject({ code: 'STORE_FULL', message: expect.stringContaining('east') })
      rig.fileSystem.before = () => {}
      expect((await rig.load()).claims).toHaveLength(1)
      await claims.record(hearing({ changed: [claim(2)] }))
      expect((await rig.load()).claims).toEqual([claim(2), claim(1, { upstream: 'west' })])
    },
  )

  it('removes before the next hearing what a failing disk would not let it remove at once', async () => {
    const rig = await makeRig()
    const claims = await rig.open()
    await claims.record(hearing({ changed: [claim(1)] }))
    rig.fileSystem.before = (step) => {
      if (step === 'file.sync' || step === 'file.truncate') throw systemError('EIO')
    }
    const long = claim(2, { whereabouts: ['x'.repeat(5000)] })
    await expect(claims.record(hearing({ changed: [long] }))).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    rig.fileSystem.before = () => {}
    await claims.record(hearing({ changed: [claim(3)] }))
    expect(await rig.load()).toMatchObject({ claims: [claim(1), claim(3)], damagedLines: 0 })
  })

  it.each(['../x', 'a/b', '', '.', 'A', '-x', 'x'.repeat(101)])('refuses an upstream named %j', async (upstream) => {
    const claims = await (await makeRig()).open()
    await expect(claims.record(hearing({ upstream }))).rejects.toThrow('upstream')
  })

  it('leaves files alone that are none of ours', async () => {
    const rig = await makeRig()
    await rig.open()
    await fs.writeFile(join(rig.path('east'), '..', 'notes.txt'), 'hello')
    expect((await rig.load()).claims).toEqual([])
    expect(rig.log.lines.map((line) => line.level)).toEqual(['warn'])
  })
})
