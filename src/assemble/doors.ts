import { readFile } from 'node:fs/promises'
import type { Listen } from '../config.js'
import { MirrorError } from '../errors.js'
import { type Certificate, checkCertificate, type Handler, listen, type OpenListener } from '../http/listener.js'
import type { Log } from '../parts/log.js'

/** Changes of doors that can be made, and have not been. One of both is to be called. */
export interface PreparedDoors {
  /** Addresses whose change has to wait for a restart: they are in use, by ourselves and in another manner. */
  readonly needsRestart: readonly string[]
  commit(): void
  abandon(): Promise<void>
}

interface Door {
  readonly wish: Wish
  readonly listener: OpenListener
}

/** An address to listen on, with everything that its files say. */
interface Wish {
  readonly address: string
  readonly certificate: Certificate | undefined
}

/** The addresses of one listener, which may become others while what has come in by the old ones is still being answered. */
export class Doors {
  readonly #log: Log
  #handler: Handler
  #doors: readonly Door[] = []
  /** Closed to whoever comes, and not empty yet. */
  readonly #leaving = new Set<OpenListener>()

  /**
   * Opens all of them.
   * @param addresses none: nobody can come in.
   * @param clientCa PEM of authorities whose certificates clients are asked for.
   * @throws MirrorError CONFIG_INVALID for an address that cannot be had, and a certificate that cannot be read or used.
   */
  static async open(
    addresses: readonly Listen[],
    clientCa: string | undefined,
    handler: Handler,
    log: Log,
  ): Promise<Doors> {
    const doors = new Doors(handler, log)
    const { commit } = await doors.prepare(addresses, clientCa)
    commit()
    return doors
  }

  private constructor(handler: Handler, log: Log) {
    this.#handler = handler
    this.#log = log
  }

  get urls(): readonly string[] {
    return this.#doors.flatMap(({ listener }) => listener.urls)
  }

  /** Who answers from now on; requests under way are answered by whoever had them. */
  answerWith(handler: Handler): void {
    this.#handler = handler
  }

  /**
   * Opens what is new among these addresses, and makes sure that the certificates of all can be used.
   * @throws MirrorError CONFIG_INVALID as `open`; then nothing has changed.
   */
  async prepare(addresses: readonly Listen[], clientCa: string | undefined): Promise<PreparedDoors> {
    const left = [...this.#doors]
    const kept: { readonly door: Door; readonly wish: Wish }[] = []
    const opened: Door[] = []
    const needsRestart: string[] = []
    const abandon = async () => void (await Promise.all(opened.map(({ listener }) => listener.close(0))))
    try {
      for (const wish of await Promise.all(addresses.map((address) => readWish(address, clientCa)))) {
        const at = left.findIndex((door) => door.wish.address === wish.address)
        const [door] = at < 0 ? [] : left.splice(at, 1)
        if (!door) opened.push(await this.#open(wish))
        else if (isOfOneKind(door.wish, wish)) kept.push({ door, wish })
        else {
          needsRestart.push(wish.address)
          kept.push({ door, wish: door.wish })
        }
      }
      for (const { wish } of kept) if (wish.certificate) checkCertificate(wish.address, wish.certificate)
    } catch (error) {
      await abandon()
      throw error
    }
    const commit = () => {
      for (const { door, wish } of kept) if (wish.certificate) door.listener.renew(wish.certificate)
      for (const { listener } of left) this.#leave(listener)
      this.#doors = [...kept.map(({ door, wish }) => ({ ...door, wish })), ...opened]
    }
    return { needsRestart, commit, abandon }
  }

  /** As `OpenListener.close`, of all of them. */
  async close(limitMs: number): Promise<void> {
    const all = [...this.#doors.map(({ listener }) => listener), ...this.#leaving]
    await Promise.all(all.map((listener) => listener.close(limitMs)))
  }

  async #open(wish: Wish): Promise<Door> {
    const { address, certificate } = wish
    const answer: Handler = (request, response) => this.#handler(request, response)
    return { wish, listener: await listen(certificate ? { address, ...certificate } : address, answer, {}, this.#log) }
  }

  #leave(listener: OpenListener): void {
    this.#leaving.add(listener)
    void listener.close(Number.POSITIVE_INFINITY).finally(() => this.#leaving.delete(listener))
  }
}

/** Whether one can become the other without a new socket. */
function isOfOneKind(one: Wish, other: Wish): boolean {
  const asksFor = ({ certificate }: Wish) =>
    certificate && (certificate.clientCa === undefined ? 'nothing' : 'certificates')
  return asksFor(one) === asksFor(other)
}

async function readWish(listen: Listen, clientCa: string | undefined): Promise<Wish> {
  if (typeof listen === 'string') return { address: listen, certificate: undefined }
  const { address, cert, key } = listen
  try {
    return { address, certificate: { cert: await readFile(cert), key: await readFile(key), clientCa } }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `the certificate for ${address} cannot be read: ${reason}`, { cause })
  }
}
