// The package under every supported version of Node, to the same pixels; a version that cannot be had is skipped.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { nodeOf, smoke, versions } from '../../scripts/node-versions.mjs'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { offline } from '../../scripts/run.mjs'
import { unbuilt } from '../support/package.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const read = (name: string) => readFileSync(path.join(root, name), 'utf8')

t.test('the lines of Node that the documents name are those that are tried', async (t) => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } }
  const lines = (versions as string[]).map((version) => version.split('.')[0]!)
  t.equal(engines.node, '^20.19.0 || >=22.12.0')
  t.equal(lines[0], '20')
  const sentence = `Node ${lines.slice(0, -1).join(', ')} and ${lines.at(-1)}`
  for (const name of ['CONTRIBUTING.md', 'docs/packages.md'])
    t.ok(read(name).includes(sentence), `${name}: ${sentence}`)
})

/** The program of a version, or why it cannot be had. */
async function find(version: string): Promise<{ program: string; skip: string | false }> {
  try {
    return { program: await nodeOf(version), skip: false }
  } catch (error) {
    if (!offline.test((error as Error).message)) throw error
    return { program: '', skip: 'its npm package is neither in the cache nor to be had: no network' }
  }
}

const skip = unbuilt()
const pixels = new Set<string>()
for (const version of versions as string[]) {
  const found = skip ? { program: '', skip } : await find(version)
  t.test(`Node ${version}`, { skip: found.skip }, async (t) => {
    const ran = await smoke(found.program)
    t.equal(ran.version, `v${version}`)
    t.same(ran.done, ['import and require()', 'upscale', 'stream', 'training', 'worker thread', 'wbsr upscale'])
    pixels.add(ran.pixels)
    t.equal(pixels.size, 1, 'the same pixels as the versions before it')
  })
}
