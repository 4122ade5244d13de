// Includes and imports follow the tables of docs/architecture.md, which have no cycle.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const text = readFileSync(path.join(root, 'docs', 'architecture.md'), 'utf8')

/** Rooms of native/ or lib/ with the rooms that each may include, from the document's tables. */
function table(top: 'native' | 'lib') {
  const rows = text.matchAll(new RegExp(`^\\| \`${top}/(\\w+)\` +\\|([^|]*)\\|`, 'gm'))
  return new Map([...rows].map(([, room, known]) => [room!, known!.split(',').map((name) => name.trim())]))
}

const folders = (top: string) =>
  readdirSync(path.join(root, top), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()

function files(folder: string) {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(ts|cc|h|cu|inc)$/.test(name),
  )
}

t.test('every room is in a table, and no two know each other', async (t) => {
  for (const top of ['native', 'lib'] as const) {
    const rooms = table(top)
    t.same([...rooms.keys()].sort(), folders(top), `${top}/`)
    const visit = (room: string, way: string[]): void => {
      if (way.includes(room)) {
        t.fail(`a circle: ${[...way, room].join(' -> ')}`)
        return
      }
      for (const next of rooms.get(room)!.filter((name) => name !== '')) {
        if (!rooms.has(next)) t.fail(`${top}/${room} may know ${next}, which is no room`)
        else visit(next, [...way, room])
      }
    }
    for (const room of rooms.keys()) visit(room, [])
  }
})

/** For each way that a file names another room of its top folder. */
const roomsNamed = {
  native: (source: string, _folder: string) => [...source.matchAll(/^#include "(\w+)\//gm)].map(([, room]) => room!),
  lib: (source: string, folder: string) =>
    [...source.matchAll(/from '(\.[^']+)'/g)].map(
      ([, target]) => path.relative('lib', path.join(folder, target!)).split(path.sep)[0]!,
    ),
}

for (const top of ['native', 'lib'] as const) {
  t.test(`${top}/ names the rooms that its table allows`, async (t) => {
    const rooms = table(top)
    let seen = 0
    for (const [room, known] of rooms) {
      for (const file of files(path.join(top, room)).map((name) => path.join(top, room, name))) {
        for (const other of roomsNamed[top](readFileSync(path.join(root, file), 'utf8'), path.dirname(file))) {
          if (other === room || !rooms.has(other)) continue
          seen++
          if (!known.includes(other)) t.fail(`${file} may not know ${top}/${other}`)
        }
      }
    }
    t.ok(seen > 50, `${seen} times that a file names another room`)
  })
}

/** The files of lib/ that a file imports or exports from, types included. */
function importsOf(file: string): string[] {
  return [...readFileSync(path.join(root, file), 'utf8').matchAll(/(?:from|import|import\()\s*'(\.[^']*)\.js'/g)].map(
    ([, target]) => path.join(path.dirname(file), `${target}.ts`),
  )
}

const sources = files('lib').map((file) => path.join('lib', file))

t.test('lib/: no files import in a circle', async (t) => {
  const circles: string[] = []
  const done = new Set<string>()
  const visit = (file: string, above: string[]): void => {
    if (above.includes(file)) circles.push([...above.slice(above.indexOf(file)), file].join(' -> '))
    if (done.has(file) || above.includes(file)) return
    for (const target of importsOf(file)) visit(target, [...above, file])
    done.add(file)
  }
  for (const file of sources) visit(file, [])
  t.same(circles, [])
})

t.test('lib/: what serves all rooms knows none but networks', async (t) => {
  const direct = sources.filter((file) => file.split(path.sep).length === 2 && file !== path.join('lib', 'index.ts'))
  const known = new Set(direct.flatMap(importsOf).map((file) => path.dirname(file)))
  t.same([...known].sort(), ['lib', path.join('lib', 'networks')])
})

t.test('lib/: only native.ts loads the addon, and every file says what it is for', async (t) => {
  const textOf = (file: string) => readFileSync(path.join(root, file), 'utf8').replace(/^#!.*\n/, '')
  t.same(
    sources.filter((file) => /node-gyp-build|wbsr\.node/.test(textOf(file))),
    [path.join('lib', 'native.ts')],
  )
  t.same(
    sources.filter((file) => !textOf(file).startsWith('// ')),
    [],
  )
})

t.test('native/: only devices include oneDNN, CUDA and OpenMP, only bindings include Node', async (t) => {
  const foreign = (room: string, header: string): boolean =>
    (room !== 'bindings' && /^(napi|node_api|js_native_api|uv\.h)/.test(header)) ||
    (room !== 'cpu' && /^(dnnl|oneapi\/|omp\.h)/.test(header)) ||
    (room !== 'cuda' && /^(cuda|cudnn|nvrtc)[^/]*\.h$/.test(header))
  const wrong = [...table('native').keys()].flatMap((room) =>
    files(path.join('native', room)).flatMap((file) =>
      [...readFileSync(path.join(root, 'native', room, file), 'utf8').matchAll(/^#include [<"]([^>"]+)[>"]/gm)]
        .filter(([, header]) => foreign(room, header!))
        .map(([, header]) => `native/${room}/${file} includes ${header}`),
    ),
  )
  t.same(wrong, [])
})
