// What `import 'wbsr'` loads: the readers of other tools' files, the image library and the program are loaded when they are
// first used, because each takes as long to load as a large part of wbsr.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import { unbuilt } from './support/package.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** Lists every file that the code loads: modules by a loader hook, CommonJS modules and addons by the cache of require(). */
function filesLoadedBy(code: string): string[] {
  const hook = `import { writeSync } from 'node:fs'
export async function load(url, context, next) {
  if (url.startsWith('file:')) writeSync(1, url + '\\n')
  return next(url, context)
}`
  // tap preloads modules of its own, which were there before.
  const program = `import { createRequire, register } from 'node:module'
import { pathToFileURL } from 'node:url'
const { cache } = createRequire(${JSON.stringify(path.join(root, 'x.js'))})
const before = new Set(Object.keys(cache))
register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)})
${code}
for (const file of Object.keys(cache)) if (!before.has(file)) console.log(pathToFileURL(file).href)`
  return execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((url) => path.relative(root, fileURLToPath(url)))
}

const packagesOf = (files: string[]) =>
  [...new Set(files.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []))].sort()

const index = JSON.stringify(pathToFileURL(path.join(root, 'dist', 'index.js')).href)

t.test('importing wbsr loads no reader of foreign files, no image library and no program', { skip: unbuilt() }, (t) => {
  const files = filesLoadedBy(`await import(${index})`)
  t.ok(files.includes(path.join('build', 'Release', 'wbsr.node')), 'the addon is loaded: the list is complete')
  t.strictSame(packagesOf(files), ['balanced-match', 'brace-expansion'], 'packages')
  const late = [
    'models/formats',
    'models/graphs/onnx',
    'models/graphs/ncnn.js',
    'models/graphs/import-graph',
    'fleet',
    'cli',
  ].map((name) => path.join('dist', name))
  t.strictSame(
    files.filter((file) => late.some((start) => file.startsWith(start))),
    [],
    'own modules that are loaded on first use',
  )
  t.end()
})

t.test(
  'wbsr/fleet loads no queue, no S3 client and no image library before a fleet is opened',
  { skip: unbuilt() },
  (t) => {
    const fleet = JSON.stringify(pathToFileURL(path.join(root, 'dist', 'fleet', 'index.js')).href)
    t.strictSame(packagesOf(filesLoadedBy(`await import(${fleet})`)), [])
    t.end()
  },
)

t.test('the image library is loaded with the first picture', { skip: unbuilt() }, (t) => {
  const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=='
  const files = filesLoadedBy(`const { pagesOf } = await import(${index})
await pagesOf(Buffer.from(${JSON.stringify(png)}, 'base64'))`)
  t.ok(packagesOf(files).includes('sharp'), 'sharp')
  t.end()
})
