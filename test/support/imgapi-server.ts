import { onTestFinished } from 'vitest'
import { type ClientAppOptions, makeClientHandler } from '../../src/http/client-app.js'
import { type ListenerBounds, listen } from '../../src/http/listener.js'
import { MemoryMirror } from './memory-mirror.js'
import { RecordingLog } from './recording-log.js'
import { authenticatorOf } from './users.js'

export interface ServedMirror {
  readonly url: string
  readonly mirror: MemoryMirror
  readonly log: RecordingLog
}

/** What clients get, in front of a mirror in memory, on loopback, closed when the test has finished. */
export async function serveMirror(
  bounds: Partial<ListenerBounds> = {},
  more: Partial<ClientAppOptions> = {},
): Promise<ServedMirror> {
  const mirror = new MemoryMirror()
  const log = new RecordingLog()
  const authenticator = await authenticatorOf()
  const handler = makeClientHandler({ mirror, authenticator, log, version: '1.2.3', serverName: 'testhost', ...more })
  const listener = await listen('127.0.0.1:0', handler, bounds)
  onTestFinished(() => listener.close(0))
  return { url: listener.url, mirror, log }
}
