/** Node has it; TypeScript's library knows it only together with a browser. */
const { Memory } = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (pages: { initial: number; maximum: number; shared: true }) => { readonly buffer: SharedArrayBuffer }
    }
  }
).WebAssembly
const PAGE_BYTES = 64 * 1024

/**
 * Memory that begins at a page, which nothing else in Node promises: WebAssembly's does. Disks read into it without the cache in between, and
 * worker threads see it as it is. Each takes gigabytes of addresses, though no memory: only few may be there at a time.
 */
export function memoryPages(sizeBytes: number): Buffer<SharedArrayBuffer> {
  const pages = Math.ceil(sizeBytes / PAGE_BYTES)
  return Buffer.from(new Memory({ initial: pages, maximum: pages, shared: true }).buffer, 0, sizeBytes)
}
