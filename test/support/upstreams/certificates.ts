import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { temporaryDirectory } from '../temporary.js'

const run = promisify(execFile)

export interface Certificates {
  readonly ca: string
  /** For 127.0.0.1, signed by the authority. */
  readonly server: { readonly cert: string; readonly key: string }
  readonly client: { readonly cert: string; readonly key: string }
}

/**
 * An authority of our own, made on the spot, and what it has signed. PEM texts.
 * @param given where to make them; without it, in a directory that goes when the test has finished.
 */
export async function makeCertificates(given?: string): Promise<Certificates> {
  const directory = given ?? (await temporaryDirectory())
  const path = (name: string) => join(directory, name)
  const read = (name: string) => readFile(path(name), 'utf8')
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const makeCa = [
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.crt'),
    '-subj',
    '/CN=test authority',
  ]
  await run('openssl', makeCa)

  const sign = async (name: string, extensions: string) => {
    const request = [
      'req',
      ...newKey,
      '-keyout',
      path(`${name}.key`),
      '-out',
      path(`${name}.csr`),
      '-subj',
      `/CN=${name}`,
    ]
    await run('openssl', request)
    await writeFile(path(`${name}.ext`), extensions)
    const signed = ['-in', path(`${name}.csr`), '-out', path(`${name}.crt`), '-extfile', path(`${name}.ext`)]
    await run('openssl', [
      'x509',
      '-req',
      '-CA',
      path('ca.crt'),
      '-CAkey',
      path('ca.key'),
      '-CAcreateserial',
      ...signed,
    ])
    return { cert: await read(`${name}.crt`), key: await read(`${name}.key`) }
  }
  const server = await sign('server', 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
  const client = await sign('client', 'extendedKeyUsage=clientAuth\n')
  return { ca: await read('ca.crt'), server, client }
}
