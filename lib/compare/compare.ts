// A comparison: pictures are read, enlarged where a model is given, brought to one size, measured and put into a page.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { aborted, invalidOption } from '../errors.js'
import { writeFileAtomic } from '../files/atomic.js'
import { decodeImage } from '../images/images.js'
import type { Allocation } from '../infer/result.js'
import { psnr, ssim } from '../measure/quality.js'
import { resizeBicubic } from '../measure/resize.js'
import { type PageAllocation, pageAllocation } from '../pages/allocation.js'
import { opaque, pictureUrl, toBytes } from '../pages/pictures.js'
import { isURL } from '../realms.js'
import type { ImageInput, RawImage } from '../types.js'
import type { CompareFigures, ComparePlan, Comparison } from './options.js'
import { comparePage, type PagePicture } from './page.js'

/** The window of SSIM. */
const SSIM_WINDOW = 11
const LOSSY = 90

interface Read {
  label: string
  image: RawImage
  resized: boolean
  /** Size of the file's own pixels. */
  own: { width: number; height: number }
  allocation?: PageAllocation
  map?: ImageInput
}

/** The file's name, or what else says which picture it is. */
function labelOf(image: ImageInput, index: number): string {
  if (typeof image === 'string' && image !== '') return path.basename(image)
  if (isURL(image) && image.protocol === 'file:') return path.basename(fileURLToPath(image))
  return `picture ${index + 1}`
}

/** Names that occur twice get a number. */
function distinct(labels: readonly string[]): string[] {
  const seen = new Map<string, number>()
  return labels.map((label) => {
    const count = (seen.get(label) ?? 0) + 1
    seen.set(label, count)
    return count === 1 ? label : `${label} (${count})`
  })
}

const plain = ({ data, width, height, channels }: RawImage): RawImage => ({ data, width, height, channels })

async function readAll(plan: ComparePlan): Promise<Read[]> {
  const all: Read[] = []
  for (const [i, { image: input, label = labelOf(input, i), allocation, subnets, map }] of plan.pictures.entries()) {
    if (plan.signal?.aborted) throw aborted('Comparing', plan.signal)
    const image = plain(await decodeImage(input, `pictures[${i}]`))
    const own = { width: image.width, height: image.height }
    if (i === 0 && plan.model) all.push(...(await enlarged(image, label, plan)))
    else
      all.push({
        label,
        image,
        own,
        resized: false,
        ...(allocation && { allocation: pageAllocation(allocation, subnets ?? numbered(allocation)) }),
        ...(map !== undefined && { map }),
      })
  }
  return all
}

/** Subnets of a model that is not known. */
const numbered = ({ histogram }: Allocation) => histogram.map((_, i) => ({ width: i, depth: i }))

/** The first picture by bicubic interpolation and by the model. */
async function enlarged(image: RawImage, label: string, { model, upscale, signal }: ComparePlan): Promise<Read[]> {
  const { allocation, ...sr } = await model!.upscale(image, { ...upscale, ...(signal && { signal }) })
  const own = { width: sr.width, height: sr.height }
  const bicubic = await resizeBicubic(image, own)
  const { spent } = allocation
  return [
    { label: `${label}, bicubic ×${model!.scale}`, image: bicubic, own, resized: false },
    {
      label: `${label}, wbsr ×${model!.scale} (${(100 * spent).toFixed(0)} % of the work)`,
      image: plain(sr),
      own,
      resized: false,
      allocation: pageAllocation(allocation, model!.subnets),
    },
  ]
}

/** All pictures in the size of the largest. @throws WbsrError WBSR_INVALID_OPTION: one has another shape */
async function toOneSize(pictures: Read[]): Promise<Read[]> {
  const { width, height } = pictures.reduce((a, b) =>
    b.image.width * b.image.height > a.image.width * a.image.height ? b : a,
  ).image
  const result: Read[] = []
  for (const picture of pictures) {
    const { image, label } = picture
    if (image.width === width && image.height === height) {
      result.push(picture)
      continue
    }
    // Sides of a picture that was made smaller are rounded.
    const expected = (height * image.width) / width
    if (Math.abs(image.height - expected) > Math.max(1, 0.01 * expected))
      throw invalidOption(
        label,
        `a picture of the shape of the largest (${width} x ${height})`,
        `${image.width} x ${image.height}`,
      )
    const factor = Number((width / image.width).toFixed(2))
    result.push({
      ...picture,
      label: `${label}, bicubic ×${factor}`,
      image: await resizeBicubic(image, { width, height }),
      resized: true,
    })
  }
  return result
}

async function figuresOf(pictures: readonly Read[], signal?: AbortSignal): Promise<CompareFigures[]> {
  const bytes = pictures.map(({ image, resized }) => (resized ? null : opaque(toBytes(image))))
  const figures: CompareFigures[] = []
  for (const [a, first] of bytes.entries()) {
    for (const [b, second] of bytes.entries()) {
      if (b <= a || !first || !second) continue
      if (signal?.aborted) throw aborted('Comparing', signal)
      const [x, y] = first.channels === second.channels ? [first, second] : [asRgb(first), asRgb(second)]
      const large = Math.min(x.width, x.height) >= SSIM_WINDOW
      figures.push({
        a,
        b,
        psnr: { y: await psnr(x, y), rgb: await psnr(x, y, { channel: 'rgb' }) },
        ssim: large ? await ssim(x, y) : null,
      })
    }
  }
  return figures
}

function asRgb(image: RawImage & { data: Uint8Array }): RawImage & { data: Uint8Array } {
  if (image.channels !== 1) return image
  const data = new Uint8Array(3 * image.data.length)
  for (const [i, value] of image.data.entries()) data.fill(value, 3 * i, 3 * i + 3)
  return { ...image, data, channels: 3 }
}

export async function compare(plan: ComparePlan): Promise<Comparison> {
  const read = await toOneSize(await readAll(plan))
  const labels = distinct(read.map(({ label }) => label))
  const figures = await figuresOf(read, plan.signal)
  const pixels = read.reduce((sum, { image }) => sum + image.width * image.height, 0)
  const quality = pixels <= plan.losslessPixels ? 'lossless' : LOSSY
  const pictures: PagePicture[] = []
  for (const [i, { image, own, allocation, map }] of read.entries()) {
    if (plan.signal?.aborted) throw aborted('Comparing', plan.signal)
    const label = labels[i]!
    pictures.push({
      label,
      own,
      width: image.width,
      height: image.height,
      src: await pictureUrl(image, quality, label),
      ...(allocation && { allocation }),
      ...(map !== undefined && { map: await pictureUrl(await decodeImage(map, `map of ${label}`), LOSSY, label) }),
    })
  }
  const html = Buffer.from(comparePage({ title: plan.title ?? labels.join(' | '), pictures, figures, quality }))
  if (plan.signal?.aborted) throw aborted('Comparing', plan.signal)
  await writeFileAtomic(plan.out, html)
  return {
    file: plan.out,
    bytes: html.length,
    pictures: read.map(({ image, resized }, i) => ({
      label: labels[i]!,
      width: image.width,
      height: image.height,
      resized,
    })),
    figures,
  }
}
