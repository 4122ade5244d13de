// The whole way through the public API on the GPU: a model file, a picture, upscale(). Run from a copy of the package that
// stages.py puts together. Arguments: model, raw RGB picture, its width and height, device, rounds, [tiny].
// One line of JSON. First the GPU's result against the CPU's on a part of the picture, then times in turns.
import { readFileSync } from 'node:fs'
import { loadSupernet } from '../../dist/index.js'

const [file, picture, w, h, device, rounds, tiny] = process.argv.slice(2)
/** @type {import('../../dist/index.js').RawImage} */
const whole = { data: new Uint8Array(readFileSync(picture)), width: Number(w), height: Number(h), channels: 3 }

function part({ data, width, channels }, x, y, partWidth, partHeight) {
  const out = new Uint8Array(partWidth * partHeight * channels)
  for (let row = 0; row < partHeight; row++) {
    const from = ((y + row) * width + x) * channels
    out.set(data.subarray(from, from + partWidth * channels), row * partWidth * channels)
  }
  return { data: out, width: partWidth, height: partHeight, channels }
}

function psnr(a, b) {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2
  return sum === 0 ? Infinity : 10 * Math.log10((255 * 255 * a.length) / sum)
}

try {
  const model = await loadSupernet(file, { device })
  const subnet = model.subnets.length - 1
  /** @type {Record<string, import('../../dist/index.js').UpscaleOptions>} */
  const ways = {
    calibrated: { router: 'calibrated', budget: 0.6 },
    tiled: { router: { subnet } },
    whole: { router: { subnet }, tile: 'image' },
  }
  const small = part(whole, 900, 480, tiny ? 70 : 200, tiny ? 50 : 150)
  const reference = await loadSupernet(file, { device: 'cpu' })
  const agreement = {}
  for (const [name, options] of Object.entries(ways))
    agreement[name] = psnr((await model.upscale(small, options)).data, (await reference.upscale(small, options)).data)
  reference.dispose()
  // bf16 keeps 8 bits of each value between layers: a grey level or so at the end.
  const agree = Object.values(agreement).every((value) => value >= 45)

  const image = tiny ? small : whole
  /** @type {Record<string, { all: number[], network: number[] }>} */
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, { all: [], network: [] }]))
  const first = {} // seconds of the first picture: cuDNN compiles, or reads what it has compiled
  let share
  for (let round = -1; round < Number(rounds); round++) {
    for (const [name, options] of Object.entries(ways)) {
      const start = performance.now()
      const { timings, allocation } = await model.upscale(image, options)
      const seconds = (performance.now() - start) / 1000
      if (round < 0) {
        first[name] = seconds
        continue
      }
      times[name].all.push(seconds)
      times[name].network.push(timings.network)
      if (name === 'calibrated') share = allocation.flops / allocation.flopsOfLargest
    }
  }
  const facts = model.device()
  model.dispose()
  const worst = Math.min(...Object.values(agreement))
  const note = `${facts.kind} ${facts.name}; ${share === undefined ? '' : `${(100 * share).toFixed(1)} % of the operations; `}${Number.isFinite(worst) ? `${worst.toFixed(1)} dB` : 'equal'} to the CPU's result`
  console.log(JSON.stringify({ device: facts, agree, agreement, share, first, times, note }))
} catch (thrown) {
  const error = /** @type {Error & { code?: string }} */ (thrown)
  console.log(JSON.stringify({ error: `${error.code ?? error.name}: ${error.message}` }))
  process.exitCode = 1
}
