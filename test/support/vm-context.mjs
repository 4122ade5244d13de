// Runs a module with all of wbsr and its dependencies that are ES modules in a vm context with typed arrays and errors of its own,
// as Jest does: node --experimental-vm-modules vm-context.mjs MODULE. Modules of Node and packages are those of the process.
import { readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import vm from 'node:vm'

const dist = new URL('../../dist/', import.meta.url).href
// What jest-environment-node takes from outside; the rest (Uint16Array, Float32Array, Map, Error ...) is the context's own.
const OUTER = [
  ...[
    'AbortController',
    'AbortSignal',
    'ArrayBuffer',
    'Blob',
    'Buffer',
    'Uint8Array',
    'URL',
    'TextDecoder',
    'TextEncoder',
  ],
  ...['clearImmediate', 'clearInterval', 'clearTimeout', 'setImmediate', 'setInterval', 'setTimeout', 'queueMicrotask'],
  ...['console', 'performance', 'process', 'structuredClone'],
  'Number', // protobufjs compares the option `longs` with its own
]
const context = vm.createContext(Object.fromEntries(OUTER.map((name) => [name, /** @type {any} */ (globalThis)[name]])))

/** @type {Map<string, Promise<vm.Module>>} */
const modules = new Map()

/** @param {string} url */
function load(url) {
  let loaded = modules.get(url)
  if (!loaded) modules.set(url, (loaded = make(url)))
  return loaded
}

/** @param {string} url */
async function make(url) {
  if (isBuiltin(url) || !(url.startsWith(dist) || url === main)) {
    const outer = await import(url)
    const names = Object.keys(outer)
    const synthetic = new vm.SyntheticModule(
      names,
      () => names.forEach((name) => synthetic.setExport(name, outer[name])),
      { context, identifier: url },
    )
    return synthetic
  }
  return new vm.SourceTextModule(readFileSync(fileURLToPath(url), 'utf8'), {
    context,
    identifier: url,
    initializeImportMeta: (meta) => {
      meta.url = url
    },
    importModuleDynamically: /** @type {any} */ (
      async (/** @type {string} */ name) => evaluated(await load(resolve(name, url)))
    ),
  })
}

/** @param {string} name @param {string} from */
function resolve(name, from) {
  if (isBuiltin(name)) return name
  if (name.startsWith('.')) return new URL(name, from).href
  return name === 'wbsr' ? `${dist}index.js` : import.meta.resolve(name)
}

/** @param {vm.Module} module */
async function evaluated(module) {
  if (module.status === 'unlinked') await module.link((name, { identifier }) => load(resolve(name, identifier)))
  await module.evaluate()
  return module
}

const main = pathToFileURL(path.resolve(process.argv[2] ?? '')).href
await evaluated(await load(main))
