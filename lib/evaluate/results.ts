// What evaluate() returns, and the means over a set.

/** In dB. Infinity: equal to HR (null in JSON). */
export interface Quality {
  y: number
  rgb: number
}

/** The tiles of one difficulty class, of a picture or of a set. */
export interface ClassQuality {
  /** HR pixels. */
  pixels: number
  /** Of the pooled squared error of these pixels; null: there are none. */
  psnr: Quality | null
  /** Mean over tiles by their pixels, on Y; null: not measured, or no tile of 11 pixels. */
  ssim: number | null
}

/** One run on one picture. */
export interface PictureResult {
  psnr: Quality
  /** On Y. null: not measured, or less than 11 pixels are left after shaving. */
  ssim: number | null
  /** 2 x MAC that ran, halo included, and of the largest subnet on the whole picture. */
  flops: number
  flopsOfLargest: number
  /** What flops are a mean over: the picture's LR pixels / 1024; with protocol 'paper' its tiles. */
  patches: number
  /** From pixels to pixels, and the part on the device. Means something on a machine that does nothing else. */
  seconds: number
  networkSeconds: number
  /** Tiles of each subnet. */
  histogram: number[]
  /** [class - 1]; the classes are those of the model on tiles of 32 LR pixels, whatever the run's own are. */
  classes: ClassQuality[]
}

/** One picture of a set, and what every run made of it. */
export interface EvaluatedPicture {
  name: string
  /** The HR file. */
  file: string
  /** LR pixels. */
  width: number
  height: number
  /** By name of the run; 'bicubic' is one of them. */
  results: Record<string, PictureResult>
}

/** One run on one set. */
export interface SetSummary {
  images: number
  /** Means over the images. */
  psnr: Quality
  ssim: number | null
  /** Mean FLOPs of a 32x32 LR patch, and as a share of the largest subnet's. */
  flops: number
  share: number
  /** Sums. */
  seconds: number
  networkSeconds: number
  histogram: number[]
  classes: ClassQuality[]
}

/** One set of pictures: its pictures and the means over them. */
export interface EvaluatedSet {
  name: string
  /** How LR was made: 'files' or 'bicubic', and what happened to it. */
  lr: string
  pictures: EvaluatedPicture[]
  /** Pictures that are left out, and why. */
  skipped: { file: string; reason: string }[]
  /** By name of the run. */
  summary: Record<string, SetSummary>
}

/** The result of {@link evaluate}: plain data, which JSON keeps (an infinite PSNR becomes null). */
export interface Evaluation {
  model: {
    network: string
    scale: number
    subnets: { width: number; depth: number; flops: number; parameters: number }[]
    /** Of weights, network, classes and router table. */
    digest: string
  }
  protocol: 'full' | 'paper'
  /** HR pixels ignored at each side. */
  shave: number
  /** Names in order, 'bicubic' first, and the settings of each. */
  runs: { name: string; settings: Record<string, unknown> | null }[]
  sets: EvaluatedSet[]
}

/** Of squared errors of 8-bit values. */
export const psnrOf = (squaredError: number): number =>
  squaredError === 0 ? Infinity : 10 * Math.log10(255 ** 2 / squaredError)

/** The mean squared error of a PSNR. */
export const errorOf = (psnr: number): number => (psnr === Infinity ? 0 : 255 ** 2 / 10 ** (psnr / 10))

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0)

/** Of parts, each with its pixels: the quality of all of them. */
export function pool(parts: readonly ClassQuality[]): ClassQuality {
  const pixels = total(parts.map((part) => part.pixels))
  if (pixels === 0) return { pixels, psnr: null, ssim: null }
  const of = (key: keyof Quality): number =>
    psnrOf(total(parts.map((part) => (part.psnr ? part.pixels * errorOf(part.psnr[key]) : 0))) / pixels)
  const similar = parts.filter((part) => part.ssim !== null)
  const weight = total(similar.map((part) => part.pixels))
  return {
    pixels,
    psnr: { y: of('y'), rgb: of('rgb') },
    ssim: weight > 0 ? total(similar.map((part) => part.pixels * part.ssim!)) / weight : null,
  }
}

/** Means of one run over the pictures of a set (at least one). */
export function summarise(results: readonly PictureResult[]): SetSummary {
  const ssims = results.map(({ ssim }) => ssim).filter((ssim) => ssim !== null)
  const sum = (key: 'flops' | 'flopsOfLargest' | 'patches' | 'seconds' | 'networkSeconds'): number =>
    total(results.map((result) => result[key]))
  const perIndex = <T>(lists: readonly (readonly T[])[]): T[][] =>
    lists[0]!.map((_, i) => lists.map((list) => list[i]!))
  return {
    images: results.length,
    psnr: { y: mean(results.map(({ psnr }) => psnr.y)), rgb: mean(results.map(({ psnr }) => psnr.rgb)) },
    ssim: ssims.length > 0 ? mean(ssims) : null,
    flops: sum('flops') / sum('patches'),
    share: sum('flops') / sum('flopsOfLargest'),
    seconds: sum('seconds'),
    networkSeconds: sum('networkSeconds'),
    histogram: perIndex(results.map(({ histogram }) => histogram)).map(total),
    classes: perIndex(results.map(({ classes }) => classes)).map(pool),
  }
}
