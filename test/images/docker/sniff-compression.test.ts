import { expect, it } from 'vitest'
import { SNIFF_BYTES, sniffCompression } from '../../../src/images/docker/sniff-compression.js'
import { vectors } from '../../support/vectors.js'

it.each(
  vectors<{ name: string; hex: string; recommended: string }[]>('compressionSniff').map(
    (each) => [each.name, each] as const,
  ),
)('knows %s by its first bytes', (_name, { hex, recommended }) => {
  const head = Buffer.from(hex, 'hex')
  expect(sniffCompression(head)).toBe(recommended)
  expect(sniffCompression(head.subarray(0, SNIFF_BYTES))).toBe(recommended)
})
