// Checks the README: every function that it names is exported, every option is named, and the rows of its tables have as many
// cells as their headers. test/guides.test.ts runs its examples.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import * as wbsr from '../lib/index.js'
import { checkUpscaleOptions } from '../lib/infer/options.js'
import type { ModelState } from '../lib/model-state.js'
import { checkStreamOptions } from '../lib/stream/options.js'
import { checkTrainOptions } from '../lib/train/options.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const readme = readFileSync(path.join(root, 'README.md'), 'utf8')

/** A section: its heading and text, up to the next heading. */
function section(heading: string): string {
  const from = readme.indexOf(`\n${heading}\n`)
  if (from < 0) throw new Error(`the README has no ${heading}`)
  return readme.slice(from, readme.indexOf('\n#', from + heading.length))
}

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
