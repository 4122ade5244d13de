// A trial: does SPAN train better in its folded form or with the branches of its published training (1x1, 3x3, 1x1 and a 1x1
// beside them, twice as wide inside)? Equal steps, batches and learning rate; one subnet, x2, L1.
//
//   node train/branches.mjs --steps 400 --data ../shared/data/train/free
import { parseArgs } from 'node:util'
import { GraphBuilder, span, trainSupernet } from 'wbsr'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '400' },
    data: { type: 'string', default: '../shared/data/train/free' },
    validation: { type: 'string', default: '../shared/data/div2k_val_crops/hr/08{01..20}*' },
  },
})
const [scale, width, blocks] = [2, 28, 6]
const TORCH = { initGain: 0.41 }

/** As span() builds it, with a convolution of one's choice. */
function network(conv) {
  const g = new GraphBuilder({ scale, widths: [width], depths: [1] })
  const image = g.input()
  const head = conv(g, 'conv_1', image)
  let [x, second, activated] = [head, head, head]
  for (let i = 1; i <= blocks; i++) {
    const first = g.silu(conv(g, `block_${i}.c1_r`, x))
    const third = conv(g, `block_${i}.c3_r`, g.silu(conv(g, `block_${i}.c2_r`, first)))
    x = g.multiply(g.add(third, x), g.addConstant(g.sigmoid(third), -0.5))
    if (i === 1) second = x
    activated = first
  }
  const all = g.concat([head, conv(g, 'conv_2', x), second, activated])
  const fused = g.conv('conv_cat', all, 'width', { ...TORCH, kernel: 1 })
  return g.build('span', g.pixelShuffle(g.conv('upsampler.0', fused, 3 * scale ** 2, TORCH), scale))
}

const folded = (gain) => (g, name, x) => g.conv(name, x, 'width', { initGain: gain })
const branched = (g, name, x) => {
  const inside = 2 * width
  const point = { ...TORCH, kernel: 1 }
  const path = g.conv(`${name}.1`, g.conv(`${name}.0`, x, inside, point), inside, TORCH)
  return g.add(g.conv(`${name}.2`, path, 'width', point), g.conv(`${name}.sk`, x, 'width', point))
}

/** @type {[string, import('wbsr').Network][]} */
const arms = [
  ['folded (span())', span({ scale, widths: [width], depths: [blocks], convention: { range: 1, mean: [0, 0, 0] } })],
  ['folded, Kaiming', network(folded(1))],
  ['branches', network(branched)],
]
for (const [name, graph] of arms) {
  let sum = 0
  let counted = 0
  const start = performance.now()
  const steps = Number(values.steps)
  const model = await trainSupernet({
    network: graph,
    data: { train: values.data, validation: values.validation },
    steps,
    batchSize: 8,
    patchSize: 96,
    loss: 'l1',
    sampler: { kind: 'uniform' },
    optimizer: { learningRate: 5e-4, finalLearningRate: 5e-5 },
    ema: 0.99,
    validateEverySteps: steps,
    calibration: { images: 1, pixels: 8192 },
    seed: 1,
    onStep: ({ step, loss }) => {
      if (step > steps * 0.75) {
        sum += loss
        counted++
      }
    },
    onValidation: ({ bicubic, largest }) =>
      console.log(
        `${name.padEnd(18)} ${steps} steps, ${((performance.now() - start) / 1000).toFixed(0)} s: loss of the last quarter ${(sum / counted).toFixed(5)}, ` +
          `validation ${largest.y.toFixed(3)} dB (bicubic ${bicubic.y.toFixed(3)})`,
      ),
  })
  model.dispose()
}
