// Damaged files of every format end in a WBSR_INVALID_FILE (or are still valid) in bounded time and memory. Few of them in
// npm test; FUZZ=10000 npx tap test/models/fuzz.test.ts for many. The seed is fixed, FUZZ_SEED changes it.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { WbsrError } from '../../lib/errors.js'
import { ReadBudget } from '../../lib/files/read-budget.js'
import { readSafetensors, type Tensor, writeSafetensors } from '../../lib/files/safetensors.js'
import { tensorOf } from '../../lib/files/tensor.js'
import { readPth } from '../../lib/models/formats/pth.js'
import { readNcnn } from '../../lib/models/graphs/ncnn.js'
import { readOnnx } from '../../lib/models/graphs/onnx-import.js'
import { recognise } from '../../lib/models/recognise.js'
import { mutated, randomNumbers } from './helpers/mutate.js'
import { torchLegacy, torchZip } from './helpers/pickle.js'
import { ncnnBin, ncnnParam, onnxFile, stateDict, tensors } from './helpers/samples.js'

const COUNT = Number(process.env['FUZZ'] ?? 1500)
const SEED = Number(process.env['FUZZ_SEED'] ?? 20261130)
/** No file of a few kilobytes may take longer. */
const SECONDS = 2

const hints = { convention: {} }
const budgetOf = (bytes: Buffer) => new ReadBudget('x', bytes.length)

async function readTorch(bytes: Buffer): Promise<void> {
  const { tensors: found } = recognise('x', await readPth('x', bytes, budgetOf(bytes)), hints)
  for (const tensor of found.values()) tensor.read()
}

/** Reads `count` damaged files. Counts how they end; anything but a WbsrError of an invalid file fails the test. */
async function fuzz(t: Test, bytes: Buffer, seed: number, read: (bytes: Buffer) => unknown): Promise<void> {
  const random = randomNumbers(seed)
  await read(bytes)
  const ends = { valid: 0, refused: 0 }
  let slowest = 0
  let smallest = Infinity
  for (let i = 0; i < COUNT; i++) {
    const file = mutated(bytes, random, 0.7)
    const start = performance.now()
    try {
      await read(file)
      ends.valid++
    } catch (error) {
      if (!(error instanceof WbsrError) || error.code !== 'WBSR_INVALID_FILE') {
        writeFileSync(path.join(t.testdirName, `failed-${i}`), file)
        t.fail(`mutation ${i}: ${(error as Error).stack}`)
        return
      }
      ends.refused++
      smallest = Math.min(smallest, error.message.length)
    }
    slowest = Math.max(slowest, (performance.now() - start) / 1000)
  }
  t.equal(ends.valid + ends.refused, COUNT)
  t.ok(ends.refused > COUNT / 3, `${ends.refused} of ${COUNT} were refused, ${ends.valid} are still valid`)
  t.ok(slowest < SECONDS, `the slowest took ${slowest.toFixed(3)} s`)
  t.ok(smallest > 10, 'messages say what is wrong')
}

t.test('damaged files of torch.save, zip', async (t) => {
  t.testdir()
  await fuzz(t, torchZip(new Map([['params', stateDict]])), SEED, readTorch)
})

t.test('damaged files of torch.save, deflated', async (t) => {
  t.testdir()
  await fuzz(t, torchZip(stateDict, { deflate: true, folders: true }), SEED + 1, readTorch)
})

t.test('damaged pickles', async (t) => {
  t.testdir()
  await fuzz(t, torchLegacy(new Map([['state_dict', stateDict]])), SEED + 2, readTorch)
})

t.test('damaged safetensors', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.safetensors')
  const list = Object.entries(tensors).map(([name, { shape, data }]) => ({ name, dtype: 'F32', shape, data }) as Tensor)
  await writeSafetensors(file, list)
  const { readFileSync } = await import('node:fs')
  await fuzz(t, readFileSync(file), SEED + 3, async (bytes) => {
    const { tensors: found } = await readSafetensors(bytes)
    const dict = new Map([...found].map(([key, { shape, data }]) => [key, tensorOf(shape, data as Float32Array)]))
    recognise('x', dict, hints)
  })
})

t.test('damaged ONNX', async (t) => {
  t.testdir()
  await fuzz(t, onnxFile(), SEED + 4, (bytes) => readOnnx('x', bytes, budgetOf(bytes), {}))
})

t.test('damaged ncnn graphs', async (t) => {
  t.testdir()
  const bin = { file: 'x.bin', bytes: ncnnBin() }
  await fuzz(t, Buffer.from(ncnnParam), SEED + 5, (bytes) =>
    readNcnn({ file: 'x.param', bytes }, bin, budgetOf(bytes), {}),
  )
})

t.test('damaged ncnn weights', async (t) => {
  t.testdir()
  const param = { file: 'x.param', bytes: Buffer.from(ncnnParam) }
  await fuzz(t, ncnnBin(), SEED + 6, (bytes) => {
    const { tensors: found } = readNcnn(param, { file: 'x.bin', bytes }, budgetOf(bytes), {})
    for (const tensor of found.values()) tensor.read()
  })
})
