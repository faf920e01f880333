import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { runCommand } from './run-command.js'

it('names the record of an image that was damaged at start', async () => {
  const data = await temporaryDirectory()
  const first = await openMirror({ data, upstreams: [] })
  await first.close()
  const path = join(data, 'images', '11111111-1111-4111-8111-111111111111.json')
  await fs.writeFile(path, '{"manifest":')
  const mirror = await openMirror({ data, upstreams: [] })
  try {
    const { code, out } = await runCommand(['status', '--url', mirror.operatorUrl])
    expect(code).toBe(0)
    expect(out).toContain(`damaged    ${path}: damaged at start, so that the image counts as not held\n`)
    const { out: json } = await runCommand(['status', '-j', '--url', mirror.operatorUrl])
    expect(JSON.parse(json).keeping.damagedRecords).toEqual([{ uuid: '11111111-1111-4111-8111-111111111111', path }])
  } finally {
    await mirror.close()
  }
})

it('says why an upstream fails where a terminal is narrow, and leaves out its address instead', async () => {
  const upstreams = [{ name: 'gone', url: 'http://127.0.0.1:1' }]
  const mirror = await openMirror({ data: await temporaryDirectory(), upstreams })
  try {
    await mirror.settled()
    const args = ['upstreams', '--url', mirror.operatorUrl]
    const { out } = await runCommand(args, { terminal: { columns: () => 72 } })
    expect(out).toMatch(/^gone +failing .* connect ECONNREFUSED 127\.0\.0\.1:1$/m)
    expect(out).not.toContain('http://')
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(72)
    expect((await runCommand(args)).out).toContain('http://127.0.0.1:1 ')
  } finally {
    await mirror.close()
  }
})
