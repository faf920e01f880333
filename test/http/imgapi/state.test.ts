import { describe, expect, it } from 'vitest'
import { serveMirror } from '../../support/imgapi-server.js'
import { wireOf } from '../../support/memory-mirror.js'
import { ALICE, authenticatorOf, basic } from '../../support/users.js'

const PROVED = { headers: basic('alice', 'geheim') }

const serve = async (...users: Parameters<typeof authenticatorOf>) =>
  await serveMirror({}, { authenticator: await authenticatorOf(...users) })

describe('/state', () => {
  it.each([
    ['GET', '/state', true],
    ['POST', '/state?action=dropcaches', false],
    ['POST', '/authkeys/reload', false],
  ])('is for users alone, to change anything for those who may write: %s %s', async (method, path, mayReader) => {
    const ask = async ({ url }: { url: string }, headers = {}) => {
      const response = await fetch(url + path, { method, headers })
      const { code, message } = (await response.json()) as { code: string; message: string }
      return [response.status, code, message]
    }
    const ours = await serve([ALICE])
    expect(await ask(ours)).toEqual([401, 'UnauthorizedError', 'Unauthorized'])
    const reading = await serve([{ ...ALICE, isReadOnly: true }])
    expect(await ask(reading)).toEqual([401, 'UnauthorizedError', 'Unauthorized'])
    const mayNot = [403, 'ForbiddenError', 'user alice may read only']
    expect(await ask(reading, PROVED.headers)).toEqual(mayReader ? [200, undefined, undefined] : mayNot)
    const nobodys = await serve([])
    const refusal = 'nobody may do this here: no users are configured (publish.users)'
    expect(await ask(nobodys)).toEqual([403, 'ForbiddenError', refusal])
    expect(await ask(nobodys, PROVED.headers)).toEqual([403, 'ForbiddenError', refusal])
  })

  it('tells users how the mirror is', async () => {
    const { url, mirror } = await serve([ALICE])
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
    const { url, mirror } = await serve([ALICE])
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
    const { url } = await serve([ALICE])
    const response = await fetch(`${url}/state${query}`, { method: 'POST', ...PROVED })
    expect(response.status).toBe(409)
    expect(await response.json()).toEqual({ code, message })
  })
})
