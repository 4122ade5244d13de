// native/cuda/conv/cudnn_api.h declares the part of cuDNN that it uses. Checks every constant and function there against
// the real headers, where this machine has some: CUDNN_INCLUDE_DIR, /usr/include, a Python installation, or a wheel that pip
// would install from a folder (nothing is downloaded).

import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { inflateRawSync } from 'node:zlib'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..')
const header = 'cudnn_graph.h'

// One member of a zip file, read without the rest of it (the wheel has 550 MB).
function member(file: string, wanted: string): string | undefined {
  const fd = openSync(file, 'r')
  const read = (at: number, length: number) => {
    const bytes = Buffer.alloc(length)
    readSync(fd, bytes, 0, length, at)
    return bytes
  }
  try {
    const size = fstatSync(fd).size
    const tailAt = Math.max(0, size - 65557)
    const tail = read(tailAt, size - tailAt)
    const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
    if (end < 0) return undefined
    const directory = read(tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12))
    for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === 0x02014b50; ) {
      const nameLength = directory.readUInt16LE(at + 28)
      const name = directory.toString('utf8', at + 46, at + 46 + nameLength)
      if (name === wanted) {
        const offset = directory.readUInt32LE(at + 42)
        const local = read(offset, 30)
        const data = read(
          offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28),
          directory.readUInt32LE(at + 20),
        )
        return (directory.readUInt16LE(at + 10) === 8 ? inflateRawSync(data) : data).toString('utf8')
      }
      at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
    }
    return undefined
  } finally {
    closeSync(fd)
  }
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

// Folders with Python packages of the installations that cudnn_api.cc looks at.
function packageFolders(): string[] {
  const { VIRTUAL_ENV, CONDA_PREFIX, HOME } = process.env
  const prefixes = [VIRTUAL_ENV, CONDA_PREFIX, HOME && path.join(HOME, '.local'), '/usr/local', '/usr'].filter(
    (prefix): prefix is string => !!prefix,
  )
  return prefixes.flatMap((prefix) =>
    list(path.join(prefix, 'lib'))
      .filter((name) => name.startsWith('python3'))
      .flatMap((name) => ['site-packages', 'dist-packages'].map((kind) => path.join(prefix, 'lib', name, kind))),
  )
}

// Wheels of cuDNN in the folders and file:// indexes that pip is configured with.
function wheels(): string[] {
  const pip = spawnSync('python3', ['-m', 'pip', 'config', 'list'], { encoding: 'utf8', timeout: 60_000 })
  const places = [...(pip.stdout ?? '').matchAll(/(?:find-links|index-url)='([^']*)'/g)]
    .flatMap((match) => match[1]!.split(/\s+/))
    .map((place) => (place.startsWith('file://') ? fileURLToPath(place) : place))
    .filter((place) => path.isAbsolute(place))
  const found: string[] = []
  for (const place of new Set(places)) {
    for (const name of list(place)) {
      if (/^nvidia_cudnn_cu\d+-.*\.whl$/.test(name)) found.push(path.join(place, name))
      const index = path.join(place, name, 'index.html')
      if (!/^nvidia[-_]cudnn[-_]cu\d+$/.test(name) || !existsSync(index)) continue
      for (const [, link] of readFileSync(index, 'utf8').matchAll(/href="([^"#]+\.whl)[^"]*"/g))
        found.push(path.resolve(place, name, decodeURIComponent(link!)))
    }
  }
  return found.filter((file) => existsSync(file))
}

function realHeader(): { text: string; from: string } | undefined {
  const folders = [
    process.env.CUDNN_INCLUDE_DIR,
    '/usr/include',
    '/usr/include/x86_64-linux-gnu',
    '/usr/local/cuda/include',
    ...packageFolders().map((folder) => path.join(folder, 'nvidia/cudnn/include')),
  ]
  for (const folder of folders) {
    if (folder && existsSync(path.join(folder, header)))
      return { text: readFileSync(path.join(folder, header), 'utf8'), from: path.join(folder, header) }
  }
  for (const wheel of wheels()) {
    const text = member(wheel, `nvidia/cudnn/include/${header}`)
    if (text) return { text, from: wheel }
  }
  return undefined
}

const ours = readFileSync(path.join(root, 'native', 'cuda', 'conv', 'cudnn_api.h'), 'utf8')
const real = realHeader()

t.test(
  'what cudnn_api.h declares is what cuDNN has',
  { skip: real ? false : "no cudnn_graph.h on this machine, and no wheel nvidia-cudnn in a folder of pip's" },
  async (t) => {
    const { text, from } = real!
    t.comment(from)
    const constants = [...ours.matchAll(/^ {2}X\((CUDNN_\w+), (\d+)\)/gm)]
    t.ok(constants.length > 90, `${constants.length} constants`)
    for (const [, name, value] of constants) {
      const found = new RegExp(`\\b${name}\\b(?:\\s+CUDNN_DEPRECATED_ENUM)?\\s*=\\s*(\\d+)`).exec(text)
      if (found?.[1] !== value) t.fail(`${name} is ${value} in cudnn_api.h and ${found?.[1] ?? 'nowhere'} in cuDNN`)
    }
    // Each function that is looked up, with as many parameters as the table's pointer has.
    const table = /struct Api \{([\s\S]*?)\n\};/.exec(ours)![1]!
    const loads = [
      ...readFileSync(path.join(root, 'native', 'cuda', 'conv', 'cudnn_api.cc'), 'utf8').matchAll(
        /library\.find\("(cudnn\w+)", table\.(\w+)\)/g,
      ),
    ]
    const count = (parameters: string) =>
      parameters.trim() === '' || parameters.trim() === 'void' ? 0 : parameters.split(',').length
    t.equal(loads.length, [...table.matchAll(/\(\*\w+\)/g)].length, 'every function of the table is looked up')
    for (const [, name, field] of loads) {
      const mine = new RegExp(`\\(\\*${field}\\)\\(([^)]*)\\);`).exec(table)
      const theirs = new RegExp(`CUDNNWINAPI\\s+${name}\\(([^)]*)\\);`).exec(text)
      t.ok(mine && theirs && count(mine[1]!) === count(theirs[1]!), `${name}(${theirs?.[1]?.replace(/\s+/g, ' ')})`)
    }
  },
)
