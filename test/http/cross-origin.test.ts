import { describe, expect, it } from 'vitest'
import { serveMirror } from '../support/imgapi-server.js'
import { wireOf } from '../support/memory-mirror.js'

const UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
const BYTES = Buffer.from('payload')
const FROM_ELSEWHERE = { headers: { Origin: 'https://elsewhere.example.com' } }

async function serve() {
  const served = await serveMirror()
  served.mirror.add(wireOf(UUID, BYTES), [BYTES])
  return served
}

describe('a script of another site', () => {
  it.each([
    '/',
    '/ping',
    '/ping?error=Internal',
    '/images',
    `/images/${UUID}`,
    `/images/${UUID}/file`,
    '/images/nosuch',
    '/datasets',
    `/datasets/${UUID}`,
    `/datasets/${UUID}/base-1.0.0.zfs.gz`,
    '/datasets/nosuch',
  ])('may read %s, without credentials', async (path) => {
    const { url } = await serve()
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await fetch(url + path, { method, ...FROM_ELSEWHERE })
      expect(headers.get('access-control-allow-origin')).toBe('*')
      expect(headers.get('access-control-expose-headers')).toContain('ETag')
      expect(headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  it.each(['POST', 'PUT', 'DELETE'])('gets no answer to %s', async (method) => {
    const { url } = await serve()
    const { headers } = await fetch(`${url}/images/${UUID}`, { method, ...FROM_ELSEWHERE })
    expect(headers.get('access-control-allow-origin')).toBeNull()
  })

  it.each(['/images', `/images/${UUID}/file`, `/datasets/${UUID}`])('is told what it may ask of %s', async (path) => {
    const { url } = await serve()
    const headers = { ...FROM_ELSEWHERE.headers, 'Access-Control-Request-Method': 'GET' }
    const response = await fetch(url + path, { method: 'OPTIONS', headers })
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.get('access-control-allow-methods')).toBe('GET, HEAD')
    expect(response.headers.get('access-control-allow-headers')).toContain('Accept-Version')
    expect(response.headers.get('access-control-allow-headers')).not.toMatch(/authorization/i)
  })

  it.each(['/state', '/nosuch', '/v2/'])('is told nothing of %s', async (path) => {
    const { url } = await serve()
    const headers = { ...FROM_ELSEWHERE.headers, 'Access-Control-Request-Method': 'GET' }
    for (const method of ['GET', 'OPTIONS']) {
      const response = await fetch(url + path, { method, headers })
      expect(response.headers.get('access-control-allow-origin')).toBeNull()
    }
  })
})
