import { promisify } from 'node:util'
import { brotliCompress, constants, createBrotliCompress, createGzip, gzip } from 'node:zlib'
import type { Context } from './every-request.js'

/** A form JSON can travel in. Image files never travel in any but their own. */
export type Encoding = 'br' | 'gzip'

/** Smaller bodies fit one packet anyway. */
export const COMPRESS_FROM_BYTES = 1024

/** Brotli's own default, 11, takes seconds for a catalogue; 4 is as fast as gzip and still smaller. */
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT },
}

const gzipAsync = promisify(gzip)
const brotliAsync = promisify(brotliCompress)

/**
 * The form the client asks for. imgadm asks for none, and decodes gzip only. Says `Vary` in passing, since the answer
 * would have been another for another `Accept-Encoding`.
 */
export function chooseEncoding(context: Context, sizeBytes: number): Encoding | undefined {
  context.vary('Accept-Encoding')
  if (sizeBytes < COMPRESS_FROM_BYTES || !context.get('Accept-Encoding')) return undefined
  const chosen = context.acceptsEncodings('br', 'gzip', 'identity')
  return chosen === 'br' || chosen === 'gzip' ? chosen : undefined
}

/** A small body, in one go. */
export function compress(bytes: Buffer, encoding: Encoding): Promise<Buffer> {
  return encoding === 'br' ? brotliAsync(bytes, BROTLI) : gzipAsync(bytes)
}

/** For a large body, in pieces. */
export function createCompressor(encoding: Encoding) {
  return encoding === 'br' ? createBrotliCompress(BROTLI) : createGzip()
}
