// Weights and inputs that every contestant of a benchmark shares: made from a seed, handed over as a safetensors file.
import { readFileSync, writeFileSync } from 'node:fs'

/** A small seeded generator (mulberry32), uniform in [0, 1). */
export function random(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * Weights at full width for a network of lib/networks: name -> { shape, data }. Scaled so that every layer matters for
 * the output (unlike a fresh initialisation, where the network adds next to nothing to its bilinear skip), residual
 * branches small enough that sixteen of them do not blow up.
 */
export function makeWeights(network, seed = 1) {
  const next = random(seed)
  const width = Math.max(...network.widths)
  const channels = []
  const weights = {}
  network.graph.nodes.forEach((n) => {
    if (n.op === 'input') channels.push(n.channels.fixed)
    else if (n.op === 'pixelShuffle') channels.push(channels[n.inputs[0]] / n.factor ** 2)
    else if (n.op === 'conv') {
      const from = channels[n.inputs[0]]
      const to = 'fixed' in n.channels ? n.channels.fixed : Math.floor((n.channels.num * width) / n.channels.den)
      channels.push(to)
      const std = Math.sqrt(2 / (from * n.kernel ** 2)) * (n.name.endsWith('conv2') ? 0.3 : 1)
      const uniform = (count, range) => Float32Array.from({ length: count }, () => (next() * 2 - 1) * range)
      weights[`${n.name}.weight`] = {
        shape: [to, from, n.kernel, n.kernel],
        data: uniform(to * from * n.kernel ** 2, std * Math.sqrt(3)),
      }
      if (n.bias) weights[`${n.name}.bias`] = { shape: [to], data: uniform(to, 0.02) }
    } else channels.push(channels[n.inputs[0]])
  })
  return weights
}

/** `count` floats in [0, 1). */
export function makeImages(count, seed = 2) {
  const next = random(seed)
  return Float32Array.from({ length: count }, () => next())
}

/** Writes name -> { shape, data: Float32Array } as safetensors (8 bytes header length, JSON header, raw values). */
export function writeSafetensors(file, tensors) {
  const header = {}
  let offset = 0
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + data.byteLength] }
    offset += data.byteLength
  }
  let json = JSON.stringify(header)
  json += ' '.repeat((8 - (json.length % 8)) % 8)
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(json.length))
  writeFileSync(
    file,
    Buffer.concat([
      size,
      Buffer.from(json),
      ...Object.values(tensors).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
    ]),
  )
}

/** The flat arena of an engine, filled from a file that writeSafetensors wrote. */
export function engineWeights(engine, file) {
  const bytes = readFileSync(file)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start))
  const arena = new Float32Array(engine.parameterCount)
  for (const { name, shape, offset, count } of engine.parameters) {
    const entry = header[name]
    if (JSON.stringify(entry?.shape) !== JSON.stringify(shape))
      throw new Error(`${name} should be ${shape} but the file has ${entry?.shape}`)
    for (let i = 0; i < count; i++) arena[offset + i] = bytes.readFloatLE(start + entry.data_offsets[0] + 4 * i)
  }
  return arena
}
