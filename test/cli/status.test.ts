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
