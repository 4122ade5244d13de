// Published weight files with the reference implementation's own output (../shared/data/zoo): the same pixels for one small
// picture, through the engine and through upscale, and on request the published PSNR on Set5 (npm run zoo).
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { decodeImage } from '../../lib/images/images.js'
import { type LoadModelOptions, loadModel, psnr } from '../../lib/index.js'

const shared = path.resolve(import.meta.dirname, '../../../shared/data')
const zoo = path.join(shared, 'zoo')
const absent = existsSync(zoo) ? false : '../shared/data is not here'
const everything = process.env['ZOO'] === 'all'

interface Model {
  /** Folder of the reference. */
  name: string
  /** Under ../shared/data. */
  file: string
  architecture: string
  scale: number
  features: number
  blocks: number
  range: number
  /** PSNR-Y on Set5, by picture; null: weights are random. */
  set5: [number, number, number, number, number] | null
  output?: string
}

const model = (
  name: string,
  file: string,
  architecture: string,
  [scale, features, blocks, range]: [number, number, number, number],
  set5: Model['set5'],
  output = 'out.f32',
): Model => ({ name, file, architecture, scale, features, blocks, range, set5, output })

const models: Model[] = [
  model(
    'span_ntire26_x4',
    'zoo/span_ntire26_x4/team00_SPAN.pth',
    'span',
    [4, 28, 6, 255],
    [33.546, 34.3671, 27.825, 32.8978, 30.0592],
  ),
  model(
    'spanv2_ntire26_x4',
    'zoo/spanv2_ntire26_x4/team22_spanv2_c2.pth',
    'spanv2',
    [4, 32, 5, 1],
    [33.582, 34.4929, 27.7025, 32.8799, 30.1831],
  ),
  model(
    'disp_ntire26_x4',
    'zoo/disp_ntire26_x4/team18_DISP.pth',
    'disp',
    [4, 32, 4, 1],
    [33.6284, 34.5449, 28.0061, 32.97, 30.5389],
  ),
  model(
    'spanf_ntire25_x4',
    'zoo/spanf_ntire25_x4/team24_spanf.pth',
    'spanf',
    [4, 32, 5, 1],
    [33.5049, 34.3376, 27.8389, 32.9076, 30.2852],
  ),
  model(
    'plainusr_x2',
    'zoo/plainusr_x2/PlainUSR_Rep_x2.pth',
    'plainusr',
    [2, 64, 5, 1],
    [38.9024, 43.0809, 35.3005, 36.0043, 36.4368],
  ),
  model(
    'plainusrm_x4',
    'zoo/plainusrm_x4/PlainUSRM_Rep_x4.pth',
    'plainusr',
    [4, 48, 5, 1],
    [33.6605, 34.255, 27.787, 32.8406, 30.4137],
  ),
  model('imdn_x2', 'zoo/imdn_x2/IMDN_x2.pth', 'imdn', [2, 64, 6, 1], [38.9089, 43.2927, 35.3586, 36.0205, 36.3992]),
  model(
    'rfdn_aim_x4',
    'zoo/rfdn_aim_x4/RFDN_AIM.pth',
    'rfdn',
    [4, 50, 4, 255],
    [33.7589, 34.8904, 28.6407, 32.9557, 30.5491],
  ),
  model(
    'realesrgan_general_x4v3_ncnn',
    'zoo/realesrgan_general_x4v3_ncnn/RealESRGAN_General_x4_v3.param',
    'ncnn',
    [4, 64, 34, 1],
    [28.1692, 28.2265, 20.3269, 30.4534, 26.0437],
  ),
  model(
    'animevideov3_x2_ncnn',
    'zoo/animevideov3_x2_ncnn/realesr-animevideov3-x2.bin',
    'ncnn',
    [2, 64, 18, 1],
    [34.6288, 32.83, 28.2475, 33.4293, 29.2762],
  ),
  model(
    'animevideov3_x4_pth',
    'zoo/animevideov3_x4_pth/realesr-animevideov3.pth',
    'srvgg',
    [4, 64, 16, 1],
    [30.9846, 29.356, 23.1528, 31.0465, 26.6232],
  ),
  model(
    'spankendata_x4_onnx',
    'zoo/spankendata_x4_onnx/4xSPANkendata_fp32.onnx',
    'onnx',
    [4, 48, 22, 1],
    [27.3592, 29.2081, 24.8632, 31.305, 27.2081],
  ),
  model('rlfn_x2', 'weights/rlfn_x2.pth', 'rlfn', [2, 52, 6, 255], [38.9296, 43.3621, 35.5797, 36.0125, 36.444]),
  model('rlfn_x4', 'weights/rlfn_x4.pth', 'rlfn', [4, 52, 6, 255], [33.7691, 35.0069, 28.6919, 33.0012, 30.7207]),
  model(
    'edsr_r8f64_x2',
    'weights/edsr_r8f64_x2.pth',
    'edsr',
    [2, 64, 8, 1],
    [38.8736, 43.0048, 34.836, 35.9809, 36.3102],
  ),
  model(
    'srresnet_r8f64_x4',
    'weights/srresnet_r8f64_bnfolded_x4.safetensors',
    'srresnet-prelu',
    [4, 64, 8, 1],
    [33.6275, 34.616, 27.9216, 32.8635, 30.384],
  ),
  model('rrdb_made_here_x4', 'zoo/rrdb_made_here_x4/rrdb_newarch_x4_zip.pth', 'rrdb', [4, 16, 2, 1], null),
  model('rrdb_made_here_x4', 'zoo/rrdb_made_here_x4/rrdb_oldarch_x4_legacy.pth', 'rrdb', [4, 16, 2, 1], null),
  model('rrdb_made_here_x2', 'zoo/rrdb_made_here_x2/rrdb_newarch_x2_legacy.pth', 'rrdb', [2, 16, 2, 1], null),
  model(
    'rrdb_made_here_x2',
    'zoo/rrdb_made_here_x2/rrdb_newarch_x2_half_zip.pth',
    'rrdb',
    [2, 16, 2, 1],
    null,
    'out_half.f32',
  ),
]

/** The cheapest ones are measured on a picture of Set5 in every run. */
const QUICK = ['span_ntire26_x4', 'spanv2_ntire26_x4', 'rlfn_x4']
const PICTURES = ['baby', 'bird', 'butterfly', 'head', 'woman']

const floats = (file: string) => {
  const bytes = readFileSync(file)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}
const load = (file: string, options: LoadModelOptions = {}) =>
  loadModel(path.join(shared, file), { device: 'cpu', threads: 2, ...options })

/** PSNR-Y of a picture of Set5, outputs rounded to 8 bits, shaved by the scale. */
async function score(model: Awaited<ReturnType<typeof load>>, picture: string): Promise<number> {
  const sr = await model.upscale(path.join(shared, `set5/lr_x${model.scale}/${picture}.png`), { tile: 'image' })
  const hr = await decodeImage(path.join(shared, `set5/hr/${picture}.png`), 'hr')
  const { width, height } = sr
  const cropped = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++)
    cropped.set(hr.data.subarray(y * hr.width * 3, (y * hr.width + width) * 3), y * width * 3)
  return psnr(sr, { data: cropped, width, height, channels: 3 }, { channel: 'y', shave: model.scale })
}

for (const { name, file, output, set5, ...expected } of models) {
  t.test(file, { skip: absent }, async (t) => {
    using loaded = await load(file)
    const { name: architecture, scale, features, blocks, range } = loaded.architecture
    t.same({ architecture, scale, features, blocks, range }, expected, loaded.architecture.title)
    const data = Float32Array.from(readFileSync(path.join(zoo, 'input_48x40.rgb')), (v) => v / 255)
    const reference = floats(path.join(zoo, name, output!))
    // Results of upscale are cut off at 0 and 1.
    const result = await loaded.upscale({ data, width: 48, height: 40, channels: 3 }, { tile: 'image' })
    t.same([result.width, result.height], [48 * scale, 40 * scale])
    const pixels = result.width * result.height
    let largest = 0
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < pixels; i++) {
        const wanted = Math.min(1, Math.max(0, reference[c * pixels + i]!))
        largest = Math.max(largest, Math.abs(Math.min(1, Math.max(0, result.data[3 * i + c]!)) - wanted))
      }
    t.ok(largest < 2e-4, `largest difference ${largest.toExponential(2)} of full range`)
    if (set5 === null || !(everything || QUICK.includes(name))) return
    const pictures = everything ? PICTURES : ['butterfly']
    const scores = []
    for (const picture of pictures) scores.push(await score(loaded, picture))
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    const published = pictures.map((picture) => set5[PICTURES.indexOf(picture)]!)
    const [ours, theirs] = [mean(scores), mean(published)]
    t.ok(Math.abs(ours - theirs) < 0.01, `Set5 ${ours.toFixed(4)} dB, published ${theirs.toFixed(4)} dB`)
  })
}

t.test('every file of the folder is in the list', { skip: absent }, async (t) => {
  const folders = readdirSync(zoo, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
  t.same([...new Set(models.map(({ name }) => name))].sort(), folders.sort())
})
