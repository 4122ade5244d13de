// Part `peers` of `npm run bench`: what a Node user could pick instead, on five photographs of 768x512 pixels reduced to half:
// the package's x2 model here and in ONNX Runtime (native and WebAssembly), UpscalerJS' default model, sharp's lanczos3.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { loadSupernet, psnr, resizeBicubic } from '../dist/index.js'
import { Contestant, inTurns } from './contest.mjs'
import { picture } from './model.mjs'
import { SMALL } from './pareto.mjs'
import { npmPackages, onnxRuntime } from './peers.mjs'

const scale = 2
const MODEL = 'wbsr:x2'

/** @returns {{ name: string, kind: string, home: any, request: object }[]} */
function candidates(homes, files) {
  const { node, web, upscaler } = homes
  const largest = { model: MODEL, options: 'largest' }
  return [
    { name: 'wbsr, loss 0.02', kind: 'wbsr', home: {}, request: { model: MODEL } },
    { name: 'wbsr, largest subnet', kind: 'wbsr', home: {}, request: largest },
    { name: 'onnxruntime-node, same network', kind: 'onnxruntime-node', home: node, request: files },
    { name: 'onnxruntime-web (wasm), same network', kind: 'onnxruntime-web', home: web, request: files },
    { name: 'UpscalerJS default model (tfjs wasm)', kind: 'upscalerjs', home: upscaler, request: {} },
    { name: 'sharp lanczos3', kind: 'sharp', home: {}, request: { scale } },
  ]
}

export async function pictures({ folder, threads, rounds }) {
  const model = await loadSupernet(MODEL, { device: 'cpu', threads })
  const onnxFile = path.join(folder, 'x2.onnx')
  await model.exportOnnx(onnxFile)
  model.dispose()
  const homes = {
    node: await onnxRuntime(),
    web: await npmPackages('onnxruntime-web', ['onnxruntime-web']),
    upscaler: await npmPackages('upscalerjs', [
      '@tensorflow/tfjs',
      '@tensorflow/tfjs-backend-wasm',
      '@upscalerjs/default-model',
    ]),
  }
  const images = []
  for (const name of SMALL) {
    const hr = await picture(name, 768, 512)
    const lr = await resizeBicubic(hr, { scale: 1 / scale })
    const file = path.join(folder, `${name}.rgb`)
    writeFileSync(file, lr.data)
    images.push({ hr, lr: file, width: lr.width, height: lr.height })
  }

  const table = []
  const entrants = []
  const program = path.join(import.meta.dirname, 'peer_pictures.mjs')
  for (const { name, kind, home, request } of candidates(homes, { onnxFile })) {
    if (home.missing) {
      table.push({ what: name, against: '', skipped: home.missing })
      continue
    }
    const args = [program, kind, String(threads), ...(home.folder ? [home.folder] : [])]
    const contestant = new Contestant(name, process.execPath, args)
    try {
      await contestant.ask({ do: 'load', ...request })
      entrants.push({ name, contestant })
    } catch (error) {
      table.push({ what: name, against: '', skipped: String(error).split('\n')[0] })
    }
  }

  const details = {}
  for (const { name, contestant } of entrants) {
    details[name] = { psnr: 0, seconds: 0, peak: 0 }
    for (const { hr, lr, width, height } of images) {
      const output = path.join(folder, 'sr.rgb')
      await contestant.ask({ do: 'upscale', lr, width, height, output })
      /** @type {import('../dist/index.js').RawImage} */
      const sr = {
        data: new Uint8Array(readFileSync(output)),
        width: 2 * width,
        height: 2 * height,
        channels: 3,
      }
      details[name].psnr += (await psnr(sr, hr, { shave: scale })) / images.length
    }
  }
  for (const { lr, width, height } of images) {
    const request = { do: 'upscale', lr, width, height }
    const results = await inTurns(
      entrants.map((entrant) => ({ ...entrant, request })),
      rounds,
    )
    for (const [name, { seconds, answers }] of Object.entries(results)) {
      details[name].seconds += seconds / images.length
      details[name].peak = Math.max(details[name].peak, ...answers.map(({ peak }) => peak))
    }
  }
  for (const { contestant } of entrants) await contestant.close()

  const ours = details['wbsr, loss 0.02']
  for (const [name, { psnr: quality, seconds, peak }] of Object.entries(details)) {
    console.log(
      `${name.padEnd(40)}${quality.toFixed(2)} dB  ${seconds.toFixed(3)} s  ${(peak / 2 ** 20).toFixed(0)} MiB`,
    )
    if (name.startsWith('wbsr')) continue
    table.push({
      what: 'wbsr:x2, 384x256 photograph',
      against: name,
      seconds: ours.seconds,
      theirs: seconds,
      ratio: seconds / ours.seconds,
      target: 'reported',
      checked: `${(ours.psnr - quality).toFixed(2)} dB more`,
    })
  }
  return { table, details }
}
