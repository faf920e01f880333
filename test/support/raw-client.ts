import { once } from 'node:events'
import net from 'node:net'

/** A client made of nothing but a socket, for what no decent client would do. */
export class RawClient {
  static async to(url: string, options: { allowHalfOpen?: boolean } = {}): Promise<RawClient> {
    const { hostname, port } = new URL(url)
    const socket = net.connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), ...options })
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  /** Everything received so far. */
  text = ''
  readonly socket: net.Socket
  #changed = () => {}

  private constructor(socket: net.Socket) {
    this.socket = socket
    socket.setEncoding('latin1')
    socket.on('error', () => {}) // being reset is what many tests are about
    socket.on('data', (text: string) => {
      this.text += text
      this.#changed()
    })
    socket.on('close', () => this.#changed())
  }

  send(...lines: string[]): void {
    this.socket.write(lines.join('\r\n'))
  }

  /** Waits until what has been received matches; fails if the connection closes first. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      if (this.socket.closed) throw new Error(`closed before ${pattern} came, after: ${this.text.slice(0, 500)}`)
      await this.#change()
    }
    return this.text
  }

  /** Waits for the other side to close, and answers all it sent. */
  async closed(): Promise<string> {
    while (!this.socket.closed) await this.#change()
    return this.text
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }
}

/** The head and the body of one response whose connection has been read to its end. */
export function splitResponse(text: string): { head: string; body: string } {
  const end = text.indexOf('\r\n\r\n')
  return { head: text.slice(0, end), body: text.slice(end + 4) }
}
