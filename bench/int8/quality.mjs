// What int8 would cost in PSNR: the largest subnet of wbsr:x2 in plain loops, with weights and activations rounded as an
// int8 engine would hold them. Weights have a scale per output channel; activations a range per layer, found on other
// pictures; sums, biases, activation functions and the residual stream stay float. No option of the engine does this.
//
//   node bench/int8/quality.mjs [--size 64]     LR pixels of the crop from the middle of each picture
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { loadSupernet } from '../../dist/index.js'

const { values } = parseArgs({ options: { size: { type: 'string', default: '64' } } })
const size = Number(values.size)
const data = path.resolve(import.meta.dirname, '..', '..', '..', 'shared', 'data')
const scale = 2

/** The RGB planes in 0..1 of the middle of a picture. */
async function crop(file, side) {
  const { width, height } = await sharp(file).metadata()
  const [left, top] = [Math.floor((width - side) / 2 / scale) * scale, Math.floor((height - side) / 2 / scale) * scale]
  const raw = await sharp(file)
    .extract({ left, top, width: side, height: side })
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer()
  return Float32Array.from({ length: 3 * side * side }, (_, i) => {
    return raw[(i % (side * side)) * 3 + Math.floor(i / (side * side))] / 255
  })
}

async function pairs(set) {
  const names = readdirSync(path.join(data, set, 'hr'))
  const list = []
  for (const name of names) {
    const lr = path.join(data, set, 'lr_x2', name)
    const { width, height } = await sharp(lr).metadata()
    if (Math.min(width, height) < size) continue
    const [left, top] = [
      Math.floor((width - size) / 2 / scale) * scale,
      Math.floor((height - size) / 2 / scale) * scale,
    ]
    const hr = await sharp(path.join(data, set, 'hr', name))
      .extract({ left: left * scale, top: top * scale, width: size * scale, height: size * scale })
      .removeAlpha()
      .toColourspace('srgb')
      .raw()
      .toBuffer()
    list.push({ lr: await crop(lr, size), hr })
  }
  return list
}

function readTensors(file) {
  const bytes = readFileSync(file)
  const length = Number(bytes.readBigUInt64LE(0))
  const { __metadata__: _, ...header } = JSON.parse(bytes.subarray(8, 8 + length).toString())
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => [
        name,
        { shape, data: new Float32Array(new Uint8Array(bytes.subarray(8 + length + from, 8 + length + to)).buffer) },
      ],
    ),
  )
}

/** out (O, h, w) = bias + weight (O, I, k, k) over x (I, h, w) with zero padding. */
function convolve(x, { shape, data: weight }, bias, h, w) {
  const [outputs, inputs, kernel] = shape
  const pad = kernel >> 1
  const stride = w + 2 * pad
  const plane = stride * (h + 2 * pad)
  const padded = new Float32Array(inputs * plane)
  for (let c = 0; c < inputs; c++)
    for (let y = 0; y < h; y++)
      padded.set(x.subarray((c * h + y) * w, (c * h + y + 1) * w), c * plane + (y + pad) * stride + pad)
  const out = new Float32Array(outputs * h * w)
  for (let o = 0; o < outputs; o++)
    for (let y = 0; y < h; y++) {
      const row = out.subarray((o * h + y) * w, (o * h + y + 1) * w).fill(bias[o])
      for (let i = 0; i < inputs; i++)
        for (let ky = 0; ky < kernel; ky++) {
          const from = i * plane + (y + ky) * stride
          const at = ((o * inputs + i) * kernel + ky) * kernel
          if (kernel === 3) {
            const [a, b, c] = [weight[at], weight[at + 1], weight[at + 2]]
            for (let j = 0; j < w; j++)
              row[j] += a * padded[from + j] + b * padded[from + j + 1] + c * padded[from + j + 2]
          } else for (let j = 0; j < w; j++) row[j] += weight[at] * padded[from + j]
        }
    }
  return out
}

/** Weights as s8 with a scale per output channel. */
function roundWeights({ shape, data: weight }) {
  const per = weight.length / shape[0]
  const rounded = weight.slice()
  for (let o = 0; o < shape[0]; o++) {
    const part = rounded.subarray(o * per, (o + 1) * per)
    const step = part.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12) / 127
    part.forEach((v, i) => {
      part[i] = Math.round(v / step) * step
    })
  }
  return { shape, data: rounded }
}

/** Activations on 256 levels: signed around 0, or over [low, high] with a zero point. */
function roundActivations(x, { low, high }, kind) {
  const step = kind === 's8' ? Math.max(-low, high) / 127 : (high - low) / 255
  const zero = kind === 's8' ? 0 : Math.round(-low / step)
  const [least, most] = kind === 's8' ? [-127, 127] : [-zero, 255 - zero]
  return x.map((v) => Math.min(most, Math.max(least, Math.round(v / step))) * step)
}

const silu = (x) => x.map((v) => v / (1 + Math.exp(-v)))
const add = (a, b) => a.map((v, i) => v + b[i])

/** The network that DISP describes, with `conv` in place of every convolution. */
function disp(image, h, w, blocks, conv) {
  const head = conv('conv_1.eval_conv', image)
  let trunk = head
  for (let i = 0; i < blocks; i++) {
    let y = trunk
    for (const layer of ['c1_r', 'c2_r', '_extern_conv_block.0', 'c3_r'])
      y = silu(conv(`blocks.${i}.${layer}.eval_conv`, y))
    trunk = add(y, trunk)
  }
  const small = conv('upsampler.0', add(conv('conv_2', trunk), head))
  const out = new Float32Array(3 * h * scale * w * scale)
  const at = (v, most) => Math.min(most - 1, Math.max(0, v))
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < h * scale; y++)
      for (let x = 0; x < w * scale; x++) {
        const sub = c * scale * scale + (y % scale) * scale + (x % scale)
        const [fy, fx] = [(y + 0.5) / scale - 0.5, (x + 0.5) / scale - 0.5]
        const [y0, x0] = [Math.floor(fy), Math.floor(fx)]
        const pixel = (yy, xx) => image[(c * h + at(yy, h)) * w + at(xx, w)]
        const top = pixel(y0, x0) * (1 - fx + x0) + pixel(y0, x0 + 1) * (fx - x0)
        const bottom = pixel(y0 + 1, x0) * (1 - fx + x0) + pixel(y0 + 1, x0 + 1) * (fx - x0)
        out[(c * h * scale + y) * w * scale + x] =
          small[(sub * h + Math.floor(y / scale)) * w + Math.floor(x / scale)] +
          top * (1 - fy + y0) +
          bottom * (fy - y0)
      }
  return out
}

/** PSNR of luma (BT.601, 8 bits) without a border of 8 pixels, which in a crop lack their surroundings. */
function psnrY(planes, hr) {
  const side = size * scale
  const luma = (r, g, b) => 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
  const byte = (v) => Math.min(255, Math.max(0, Math.round(v * 255)))
  let sum = 0
  let count = 0
  for (let y = 8; y < side - 8; y++)
    for (let x = 8; x < side - 8; x++) {
      const p = y * side + x
      const ours = luma(...[0, 1, 2].map((c) => byte(planes[c * side * side + p])))
      sum += (ours - luma(hr[3 * p], hr[3 * p + 1], hr[3 * p + 2])) ** 2
      count++
    }
  return 10 * Math.log10(255 ** 2 / (sum / count))
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'wbsr-int8-'))
const model = await loadSupernet('wbsr:x2', { device: 'cpu', threads: 1 })
await model.exportSafetensors(path.join(folder, 'x2.safetensors'))
const { depth: blocks } = model.subnets[model.subnets.length - 1]
const tensors = readTensors(path.join(folder, 'x2.safetensors'))
rmSync(folder, { recursive: true })
const layers = Object.keys(tensors)
  .filter((name) => name.endsWith('.weight'))
  .map((name) => name.slice(0, -7))
const run = (image, weights, change) =>
  disp(image, size, size, blocks, (name, x) =>
    convolve(change(name, x), weights[name], tensors[`${name}.bias`].data, size, size),
  )
const exact = Object.fromEntries(layers.map((name) => [name, tensors[`${name}.weight`]]))
const rounded = Object.fromEntries(layers.map((name) => [name, roundWeights(exact[name])]))

// Ranges: the extremes over four other pictures, and without the ten-thousandth at either end.
/** @type {Record<string, Float32Array[]>} */
const seen = Object.fromEntries(layers.map((name) => [name, []]))
for (const { lr } of (await pairs('set14')).slice(0, 4))
  run(lr, exact, (name, x) => {
    seen[name].push(x)
    return x
  })
const ranges = (share) =>
  Object.fromEntries(
    layers.map((name) => {
      const all = new Float32Array(seen[name].reduce((n, x) => n + x.length, 0))
      let at = 0
      for (const x of seen[name]) {
        all.set(x, at)
        at += x.length
      }
      all.sort()
      const cut = Math.floor(all.length * share)
      return [name, { low: Math.min(0, all[cut]), high: all[all.length - 1 - cut] }]
    }),
  )
const [extremes, clipped] = [ranges(0), ranges(1e-4)]
const ends = ['conv_1.eval_conv', 'upsampler.0']
const inside = (name) => !ends.includes(name)
const without = Object.fromEntries(layers.map((name) => [name, inside(name) ? rounded[name] : exact[name]]))
/** @type {[string, typeof exact, (name: string, x: Float32Array) => Float32Array][]} */
const variants = [
  ['float', exact, (_, x) => x],
  ['weights alone', rounded, (_, x) => x],
  ['s8, extremes', rounded, (name, x) => roundActivations(x, extremes[name], 's8')],
  ['u8, extremes', rounded, (name, x) => roundActivations(x, extremes[name], 'u8')],
  ['u8, clipped', rounded, (name, x) => roundActivations(x, clipped[name], 'u8')],
  [
    'u8, first and last convolution float',
    without,
    (name, x) => (inside(name) ? roundActivations(x, extremes[name], 'u8') : x),
  ],
]
const pictures = await pairs('set5')

// The loops are the network: the engine's own result is the same.
{
  const { lr } = pictures[0]
  const ours = run(lr, exact, (_, x) => x)
  const interleaved = Float32Array.from({ length: lr.length }, (_, i) => lr[(i % 3) * size * size + Math.floor(i / 3)])
  const sr = await model.upscale(
    { data: interleaved, width: size, height: size, channels: 3 },
    { router: { subnet: model.subnets.length - 1 }, tile: size },
  )
  const side = size * scale
  const worst = Float32Array.from(sr.data).reduce(
    (most, v, i) =>
      Math.max(most, Math.abs(v - Math.min(1, Math.max(0, ours[(i % 3) * side * side + Math.floor(i / 3)])))),
    0,
  )
  console.log(`loops against the engine: ${worst.toExponential(1)}`)
}
model.dispose()

const base = []
console.log(`PSNR-Y in dB, the middle ${size}x${size} LR pixels of Set5 x2: each picture's change, mean change`)
for (const [name, weights, change] of variants) {
  const scores = pictures.map(({ lr, hr }) => psnrY(run(lr, weights, change), hr))
  if (base.length === 0) base.push(...scores)
  const changes = scores.map((score, i) => score - base[i])
  const shown = name === 'float' ? scores : changes
  const mean = shown.reduce((a, b) => a + b, 0) / shown.length
  console.log(`${name.padEnd(38)} ${shown.map((v) => v.toFixed(3).padStart(8)).join('')}   ${mean.toFixed(3)}`)
}
