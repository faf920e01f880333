import { describe, expect, it } from 'vitest'
import { type Log, silentLog } from '../../src/parts/log.js'
import { upstreamAt } from './upstream-under-test.js'

describe('makeUpstream', () => {
  it('warns, once and loudly, of an upstream that is believed without proof', () => {
    const warnings: string[] = []
    const log: Log = { ...silentLog, warn: (_facts, message) => warnings.push(message) }
    upstreamAt('imgapi', 'https://images.example.com', { log })
    expect(warnings).toEqual([])
    upstreamAt('imgapi', 'https://images.example.com', { log, insecure: true })
    expect(warnings).toEqual([expect.stringContaining('NOT checked')])
  })

  it('refuses a url that is not http', () => {
    expect(() => upstreamAt('dsapi', 'file:///etc')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })

  it('refuses certificates that are none, before anybody is asked', () => {
    expect(() => upstreamAt('imgapi', 'https://images.example.com', { ca: 'not PEM' })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    )
  })
})
