import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * The map of ARCHITECTURE.md. A room is a folder of src/, or a file beside them; it may import itself, and what is
 * listed: other rooms, or single files of them. `errors` and `parts` are open to all.
 */
const MAP: Record<string, readonly string[]> = {
  // The process knows whom to call, the assembly knows everybody.
  main: ['assemble', 'cli', 'telemetry'],
  assemble: ['bundle', 'cli', 'config', 'http', 'mirror', 'store', 'telemetry', 'upstream', 'images'],
  cli: ['bundle', 'config', 'mirror', 'images'],
  config: ['images'],
  http: ['mirror', 'bundle/bundles.ts', 'images'],
  bundle: ['mirror', 'store/store.ts', 'store/*-store.ts', 'store/medium.ts', 'images'],
  // Of the rooms it introduces to each other, the mirror knows the interfaces only.
  mirror: [
    'upstream/upstream.ts',
    'upstream/registry-upstream.ts',
    /* and */ 'store/store.ts',
    'store/*-store.ts',
    'images',
  ],
  upstream: ['images'],
  store: ['images'],
  telemetry: [],
  images: [],
  errors: [],
  parts: [],
}
const OPEN_TO_ALL = ['errors', 'parts']
/** These promise to import nothing of ours; `errors` may still use `parts`. */
const IMPORT_NOTHING = ['parts']

/** Packages that only one room, or a folder in it, may know, so that only they notice when these change. */
const KEPT_BY: Record<string, readonly string[]> = {
  undici: ['upstream'],
  koa: ['http'],
  '@koa/router': ['http'],
  level: ['store'],
  pino: ['telemetry'],
  'pino-pretty': ['telemetry'],
  'prom-client': ['telemetry'],
  commander: ['cli', 'main'],
  '@commander-js/extra-typings': ['cli', 'main'],
  zod: ['config', 'http/operator'],
  yaml: ['config', 'cli'],
}

interface Import {
  /** `http/imgapi/ping.ts`, relative to src/. */
  readonly from: string
  /** A file relative to src/, or the name of a package. */
  readonly to: string
  readonly isPackage: boolean
}

const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
  /\.[tj]s$/.test(file),
)
const trees = new Map(
  files.map((file) => [
    file,
    ts.createSourceFile(file, readFileSync(join(root, 'src', file), 'utf8'), ts.ScriptTarget.ES2023, true),
  ]),
)
const imports = [...trees].flatMap(([file, tree]) => importsOf(file, tree))

function importsOf(from: string, tree: ts.SourceFile): Import[] {
  const specifiers: string[] = []
  const visit = (node: ts.Node) => {
    const isStatement = ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
    if (isStatement && node.moduleSpecifier) specifiers.push((node.moduleSpecifier as ts.StringLiteral).text)
    const isCall = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
    const [argument] = isCall ? node.arguments : []
    if (argument && ts.isStringLiteral(argument)) specifiers.push(argument.text)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      specifiers.push(node.argument.literal.text)
    }
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return specifiers.map((specifier) =>
    specifier.startsWith('.')
      ? { from, to: resolveFile(normalize(join(dirname(from), specifier))), isPackage: false }
      : { from, to: packageOf(specifier), isPackage: true },
  )
}

/** TypeScript imports `x.js` and means `x.ts`, if there is one. */
function resolveFile(path: string): string {
  const source = path.replace(/\.js$/, '.ts')
  return files.includes(source) ? source : path
}

function packageOf(specifier: string): string {
  const [scope = '', name = ''] = specifier.split('/')
  return scope.startsWith('@') ? `${scope}/${name}` : scope
}

function roomOf(file: string): string {
  return file.split('/')[0]!.replace(/\.[tj]s$/, '')
}

function isAllowed({ from, to }: Import): boolean {
  const [room, target] = [roomOf(from), roomOf(to)]
  if (room === target) return true
  if (OPEN_TO_ALL.includes(target)) return !IMPORT_NOTHING.includes(room)
  return (MAP[room] ?? []).some((entry) =>
    entry.includes('/')
      ? new RegExp(`^${entry.replace('.', '\\.').replace('*', '[^/]*')}$`).test(to)
      : entry === target,
  )
}

describe('the house', () => {
  it('has the rooms of the map and no others', () => {
    expect([...new Set(files.map(roomOf))].filter((room) => !(room in MAP))).toEqual([])
  })

  it('lets imports run along its arrows only', () => {
    const wrong = imports.filter((one) => !one.isPackage && !isAllowed(one))
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  it('lets the mirror in on interfaces only, not on how they are kept', () => {
    const asMirror = (to: string) => isAllowed({ from: 'mirror/a.ts', to, isPackage: false })
    expect(asMirror('store/blob-store.ts')).toBe(true)
    expect(asMirror('store/data-directory.ts')).toBe(false)
    const implementations = imports.filter(({ from, to }) => roomOf(from) === 'mirror' && /disk-|level-/.test(to))
    expect(implementations).toEqual([])
  })

  it('keeps each package in the one room that knows it', () => {
    const strays = imports.filter(({ from, isPackage, to }) => {
      const rooms = isPackage ? KEPT_BY[to] : undefined
      return rooms && !rooms.some((room) => roomOf(from) === room || from.startsWith(`${room}/`))
    })
    expect(strays.map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  it('touches the process in main.ts alone', () => {
    const touching = [...trees].flatMap(([file, tree]) => (file !== 'main.ts' && mentionsProcess(tree) ? [file] : []))
    expect(touching).toEqual([])
    expect(imports.filter(({ to }) => /^(node:)?process$/.test(to))).toEqual([])
  })

  it('compares proofs in constant time only', () => {
    const judges = [...trees].filter(([file]) => file.startsWith('http/auth/') || file === 'parts/password-hash.ts')
    for (const [file, tree] of judges) {
      expect(tree.text, file).not.toMatch(
        /\.equals\(|(?<!#)\bcompare\(|(?:[hH]ash|\bkey|[tT]oken|password|derived) ===(?! undefined)/,
      )
    }
    const careful = judges.filter(([, tree]) => tree.text.includes('timingSafeEqual(')).map(([file]) => file)
    expect(careful.sort()).toEqual([
      'http/auth/password-checks.ts',
      'http/auth/user-authenticator.ts',
      'parts/password-hash.ts',
    ])
  })

  it('gives the operator the same map to read', () => {
    const architecture = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
    for (const room of Object.keys(MAP)) expect(architecture).toMatch(new RegExp(`^ *${room}(\\.ts|/) `, 'm'))
  })
})

/** The global `process`, not a property or a variable of that name. */
function mentionsProcess(tree: ts.SourceFile): boolean {
  let isFound = false
  const visit = (node: ts.Node) => {
    const isProcess = ts.isIdentifier(node) && node.text === 'process'
    const { parent } = node
    const isMember =
      isProcess && ((ts.isPropertyAccessExpression(parent) && parent.name === node) || ts.isPropertyAssignment(parent))
    if (isProcess && !isMember) isFound = true
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return isFound
}
