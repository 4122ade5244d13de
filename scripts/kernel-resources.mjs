// Prints what ptxas reports for each CUDA kernel: registers, static shared memory, stack, spills. For every architecture that
// the plugin is built for (native/cuda/plugin.cmake), or for some of them.
//
//   npm run kernel-resources [-- --arch=86,90] [--mix] [file.cu ...]   all of native/cuda by default
//
// --mix: also how many instructions of which kind a kernel has, by the cuobjdump that CUOBJDUMP names or that PATH has. Debian's
// (nvidia-cuda-toolkit 12.4 of trixie, non-free; the program alone is enough) reads what nvcc 13 writes.
//
// Exit status 1 if a kernel uses local memory (spilled registers or a stack) or a file does not compile, 2 if there is no
// nvcc. Results are cached under build/kernel-resources/, keyed by the file, what it includes, and the compiler's version.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root, run, SetupError, which } from './run.mjs'

const options = process.argv.slice(2).filter((argument) => argument.startsWith('--arch='))
const mixed = process.argv.includes('--mix')
const cuobjdump = mixed ? (process.env.CUOBJDUMP ?? which('cuobjdump')) : null
const built = /WBSR_CUDA_ARCHITECTURES "([^"]+)"/.exec(
  readFileSync(path.join(root, 'native', 'cuda', 'plugin.cmake'), 'utf8'),
)?.[1]
/** @type {string[]} */
const architectures =
  options.length > 0
    ? options[options.length - 1].slice('--arch='.length).split(',')
    : [...(built?.matchAll(/\d+/g) ?? [])].map(([digits]) => digits)

const flagsFor = (architecture) => [
  '-std=c++20',
  '-O3',
  `-arch=sm_${architecture}`,
  '-cubin',
  '-Werror',
  'all-warnings',
  '--expt-relaxed-constexpr',
  '-Xptxas',
  '-v',
  '-I',
  // From the root, where nvcc runs: it takes a comma in the path of a folder for the end of that path.
  'native',
]
const cache = path.join(root, 'build', 'kernel-resources')

/** The nvcc that the native build uses (native/cuda/plugin.cmake), or null. */
function findNvcc() {
  if (process.env.CUDACXX) return process.env.CUDACXX
  const local = '/usr/local'
  const toolkits = existsSync(local) ? readdirSync(local).filter((name) => /^cuda(-|$)/.test(name)) : []
  toolkits.sort((a, b) => (a === 'cuda' ? -1 : b === 'cuda' ? 1 : b.localeCompare(a, 'en', { numeric: true })))
  return (
    which('nvcc') ??
    toolkits.map((name) => path.join(local, name, 'bin', 'nvcc')).find((file) => existsSync(file)) ??
    null
  )
}

/** The file and our headers that it includes, directly or indirectly, each once. */
function sources(file, seen = new Set()) {
  if (seen.has(file)) return seen
  seen.add(file)
  for (const [, name] of readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
    const header = [path.dirname(file), path.join(root, 'native')]
      .map((folder) => path.join(folder, name))
      .find((candidate) => existsSync(candidate))
    if (header) sources(header, seen)
  }
  return seen
}

/** Kernels in the output of ptxas -v, with mangled names. */
function parse(text) {
  const kernels = []
  for (const part of text.split(/Compiling entry function '/).slice(1)) {
    const number = (pattern) => Number(pattern.exec(part)?.[1] ?? 0)
    const registers = number(/Used (\d+) registers/)
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(part)
    if (registers === 0 || !frame)
      throw new SetupError(`Expected kernels in the output of ptxas but received:\n${part}`)
    const [stack, stores, loads] = frame.slice(1).map(Number)
    kernels.push({
      name: part.slice(0, part.indexOf("'")),
      registers,
      shared: number(/(\d+) bytes smem/),
      stores,
      loads,
      stack,
    })
  }
  return kernels
}

/** What tells how a kernel uses memory and units, in this order; an instruction counts for the first that matches. */
/** @type {[string, RegExp][]} */
const KINDS = [
  ['LDG.128', /^LDG\b.*\.128/],
  ['LDG.64', /^LDG\b.*\.64/],
  ['LDG', /^LDG\b/],
  ['STG.128', /^STG\b.*\.128/],
  ['STG.64', /^STG\b.*\.64/],
  ['STG', /^STG\b/],
  ['LDL+STL', /^(LDL|STL)\b/],
  ['LDGSTS', /^LDGSTS\b/],
  ['LDSM', /^LDSM\b/],
  ['LDS', /^LDS\b/],
  ['STS', /^STS\b/],
  ['MMA', /^[HIBDQ]?G?MMA\b/],
  ['RED', /^REDG?\b/],
  ['ATOM', /^ATOM/],
  ['SHFL', /^SHFL\b/],
  ['BAR', /^BAR\b/],
  ['MUFU', /^MUFU\b/],
  ['FP64', /^D(ADD|MUL|FMA|SETP|MNMX)\b/],
]

/** By mangled kernel name: "1234 instructions: LDG.128 4, ...", from what cuobjdump -sass prints. */
function mixes(sass) {
  const found = new Map()
  for (const part of sass.split(/^\s*Function : /m).slice(1)) {
    const counts = new Map(KINDS.map(([kind]) => [kind, 0]))
    let all = 0
    for (const [, operation] of part.matchAll(/^\s+\/\*[0-9a-f]{4,}\*\/\s+(?:@!?\w+ )?([A-Z][\w.]*)/gm)) {
      if (operation === 'NOP') continue
      all++
      const kind = KINDS.find(([, pattern]) => pattern.test(operation))?.[0]
      if (kind) counts.set(kind, (counts.get(kind) ?? 0) + 1)
    }
    const parts = [...counts].filter(([, count]) => count > 0).map(([kind, count]) => `${kind} ${count}`)
    found.set(part.slice(0, part.search(/\s/)), `${all} instructions: ${parts.join(', ')}`)
  }
  return found
}

/** Readable names: without our namespaces, return type and parameters. */
async function demangle(kernels) {
  if (!which('c++filt') || kernels.length === 0) return
  const names = (
    await run(
      'c++filt',
      kernels.map(({ name }) => name),
    )
  )
    .trimEnd()
    .split('\n')
  kernels.forEach((kernel, i) => {
    const text = names[i]
      .replaceAll('wbsr::', '')
      .replaceAll('cuda::', '')
      .replaceAll('math::', '')
      .replaceAll('(anonymous namespace)::', '')
      .replaceAll('__nv_bfloat16', 'bf16')
    // The parameters start at the last bracket that is opened outside of template arguments.
    let depth = 0
    let end = text.length
    for (let at = 0; at < text.length; at++) {
      if (text[at] === '<') depth++
      else if (text[at] === '>') depth--
      else if (text[at] === '(' && depth === 0) {
        end = at
        break
      }
    }
    kernel.name = text.slice(0, end).replace(/^void /, '')
  })
}

async function compile(nvcc, version, architecture, file) {
  const flags = flagsFor(architecture)
  const digest = createHash('sha256').update([version, ...flags, ...(mixed ? ['mix'] : [])].join('\0'))
  for (const source of sources(file)) digest.update('\0').update(readFileSync(source))
  const key = digest.digest('hex')
  const stored = path.join(cache, `${path.basename(file)}.sm_${architecture}.json`)
  if (existsSync(stored)) {
    const { key: was, kernels } = JSON.parse(readFileSync(stored, 'utf8'))
    if (was === key) return kernels
  }
  mkdirSync(cache, { recursive: true })
  const cubin = cuobjdump ? path.join(cache, `${path.basename(file)}.sm_${architecture}.cubin`) : '/dev/null'
  const kernels = parse(
    await run(nvcc, [...flags, path.relative(root, file), '-o', cubin], {
      what: path.relative(root, file),
      lines: 60,
    }),
  )
  if (cuobjdump) {
    const found = mixes(await run(cuobjdump, ['-sass', cubin]))
    for (const kernel of kernels) Object.assign(kernel, { mix: found.get(kernel.name) })
  }
  await demangle(kernels)
  writeFileSync(stored, JSON.stringify({ key, kernels }))
  return kernels
}

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)))
  return rows
    .map((row) =>
      row.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join('  '),
    )
    .join('\n')
}

const nvcc = findNvcc()
if (!nvcc) {
  console.error('kernel-resources: no nvcc in CUDACXX, on PATH or in /usr/local/cuda*/bin')
  process.exit(2)
}
if (mixed && !cuobjdump) {
  console.error('kernel-resources: --mix needs cuobjdump, on PATH or in CUOBJDUMP')
  process.exit(2)
}
try {
  const version = await run(nvcc, ['--version'])
  const folder = path.join(root, 'native', 'cuda')
  const given = process.argv
    .slice(2)
    .filter((argument) => !options.includes(argument) && argument !== '--mix')
    .map((file) => path.resolve(file))
  const files =
    given.length > 0
      ? given
      : readdirSync(folder, { recursive: true, encoding: 'utf8' })
          .filter((name) => name.endsWith('.cu'))
          .sort()
          .map((name) => path.join(folder, name))
  /** @type {{ architecture: string, file: string, kernels: any[] }[]} */
  const tasks = architectures.flatMap((architecture) => files.map((file) => ({ architecture, file, kernels: [] })))
  const queue = [...tasks]
  const work = async () => {
    for (let task = queue.shift(); task; task = queue.shift())
      task.kernels = await compile(nvcc, version, task.architecture, task.file)
  }
  await Promise.all(Array.from({ length: os.availableParallelism() }, work))
  for (const architecture of architectures) {
    const all = tasks
      .filter((task) => task.architecture === architecture)
      .flatMap(({ file, kernels }) => kernels.map((kernel) => ({ ...kernel, file: path.basename(file) })))
    console.log(
      table([
        ['kernel', 'file', 'registers', 'shared', 'spill stores/loads', 'stack'],
        ...all.map((k) => [k.name, k.file, k.registers, k.shared, `${k.stores}/${k.loads}`, k.stack]),
      ]),
    )
    if (cuobjdump) console.log(table(all.map((k) => [k.name, k.file, k.mix ?? 'not in what cuobjdump prints'])))
    const local = all.filter((k) => k.stores + k.loads + k.stack > 0)
    console.log(
      `${all.length} kernels in ${files.length} files for sm_${architecture}, ${local.length} with local memory; bytes, shared memory without the dynamic part`,
    )
    if (local.length > 0) process.exitCode = 1
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(`kernel-resources: ${error.message}`)
  process.exitCode = 1
}
