import { onTestFinished } from 'vitest'
import { type SdcImgapiOptions, startSdcImgapi } from './sdc-imgapi.js'
import type { TestServer } from './serve.js'

/** An IMGAPI server that is closed when the test has finished. */
export async function startUpstream(options: SdcImgapiOptions): Promise<TestServer> {
  const upstream = await startSdcImgapi(options)
  onTestFinished(() => upstream.close())
  return upstream
}
