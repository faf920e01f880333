import { describe, expect, it } from 'vitest'
import { Refusal } from '../../../src/http/answers.js'
import type { Context } from '../../../src/http/every-request.js'
import type { Writing } from '../../../src/http/imgapi/writing.js'
import { serveMirror } from '../../support/imgapi-server.js'
import { wireOf } from '../../support/memory-mirror.js'

/** Knows one user, by a header. */
const authenticator = {
  writer: (context: Context) => {
    if (context.get('Authorization') === 'right') return Promise.resolve({ name: 'operator' })
    return Promise.reject(new Refusal(401, 'UnauthorizedError', 'Unauthorized'))
  },
}
const writing = { authenticator } as unknown as Writing
const PROVED = { headers: { Authorization: 'right' } }

describe('/state', () => {
  it('is for users alone, and for nobody where there are none', async () => {
    for (const served of [await serveMirror(), await serveMirror({}, { writing })]) {
      for (const method of ['GET', 'POST']) {
        const response = await fetch(`${served.url}/state?action=dropcaches`, { method })
        expect(response.status).toBe(401)
        expect(await response.json()).toEqual({ code: 'UnauthorizedError', message: 'Unauthorized' })
      }
    }
  })

  it('tells users how the mirror is', async () => {
    const { url, mirror } = await serveMirror({}, { writing })
    mirror.add(wireOf('aaaaaaaa-0000-4000-8000-000000000001', Buffer.from('x')))
    await (await fetch(`${url}/images`)).text()
    const response = await fetch(`${url}/state`, PROVED)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      cache: { lists: { count: 1 } },
      storageTypes: ['local'],
      imagesListed: 1,
    })
  })

  it('drops what was rendered, and answers the same lists after it', async () => {
    const { url, mirror } = await serveMirror({}, { writing })
    mirror.add(wireOf('aaaaaaaa-0000-4000-8000-000000000001', Buffer.from('x')))
    const before = await (await fetch(`${url}/images`)).text()
    const dropped = await fetch(`${url}/state?action=dropcaches`, { method: 'POST', ...PROVED })
    expect([dropped.status, await dropped.text()]).toEqual([202, ''])
    expect(await (await fetch(`${url}/state`, PROVED)).json()).toMatchObject({ cache: { lists: { count: 0 } } })
    expect(await (await fetch(`${url}/images`)).text()).toBe(before)
  })

  it.each([
    ['', 'MissingParameter', '"action" is required'],
    ['?action=', 'MissingParameter', '"action" is required'],
    ['?action=nope', 'InvalidArgument', '"nope" is not a valid action'],
  ])('refuses POST /state%s', async (query, code, message) => {
    const { url } = await serveMirror({}, { writing })
    const response = await fetch(`${url}/state${query}`, { method: 'POST', ...PROVED })
    expect(response.status).toBe(409)
    expect(await response.json()).toEqual({ code, message })
  })
})
