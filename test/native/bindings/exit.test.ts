// process.exit() while jobs run: the process ends with the given status. If our threads were not stopped first, oneDNN's
// destructors would run while they work; that crashed one time in four.

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t from 'tap'
import { packageIn, unbuilt } from '../../support/package.js'

const photographs = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  '..',
  '..',
  '..',
  'node_modules',
  '@stdlib',
)

t.test('an exit at any moment', { skip: unbuilt() }, async (t) => {
  const run = packageIn(t, null)
  const folder = path.join(t.testdirName, 'photographs')
  mkdirSync(folder)
  await sharp(path.join(photographs, 'datasets-img-allium-oreophilum', 'data', 'image.jpg'))
    .resize(256, 256)
    .png()
    .toFile(path.join(folder, 'a.png'))
  for (let i = 0; i < 12; i++) {
    const answer = run(`
      import { loadSupernet, srresnet, trainSupernet } from './dist/index.js'
      const network = srresnet({ scale: 2, widths: [16, 32], depths: [1, 4] })
      const options = { network, data: { train: 'photographs', cache: false }, batchSize: 4, patchSize: 64, loss: 'l1', threads: 1 }
      let exit = () => { console.log('true'); ${i % 3 === 2 ? "throw new Error('mine')" : 'process.exit(0)'} }
      ${i % 3 === 2 ? "process.on('uncaughtException', () => process.exit(0))" : ''}
      // Before the first step, while oneDNN makes its primitives, and later.
      void trainSupernet({ ...options, steps: 1e6, onStart: () => { setTimeout(exit, ${3 * i}) } }).catch(() => {})
    `)
    t.equal(answer, true, `${3 * i} ms after the start`)
  }
})
