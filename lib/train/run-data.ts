// The data of a run: training and validation images, the report about them, the mixture of their pixels.
import { Dataset } from '../data/dataset.js'
import { ValidationSet } from '../data/validation.js'
import type { Mixture } from '../model-state.js'
import type { Group } from './distributed/group.js'
import { shares } from './distributed/tree.js'
import { fitPixelMixture } from './mixture.js'
import type { TrainSettings } from './options.js'
import type { RunProgress } from './progress.js'
import { RunReport } from './report/report.js'
import type { Start } from './start.js'

const MIXTURE_PIXELS = 2 ** 18

export interface RunData {
  dataset: Dataset
  validation: ValidationSet | null
}

/** Phase 'index': training and validation images. */
export async function openData(
  settings: TrainSettings,
  start: Start,
  progress: RunProgress,
  group: Group,
): Promise<RunData> {
  const { network, data, batchSize, microBatches, patchSize, sampler, seed } = settings
  const [from, to] = shares(microBatches, group.ranks)
    .map((first) => (first * batchSize) / microBatches)
    .slice(group.rank) as [number, number]
  const { scale } = network
  const signal = settings.signal ?? undefined
  const found =
    data.validation === undefined ? null : await ValidationSet.find(data.validation, { scale, lr: data.validationLr })
  const later = found?.pairs.length ?? 0
  let indexed = 0
  const dataset = await Dataset.open({
    data,
    scale,
    patchSize,
    batchSize,
    ...settings.length,
    first: (facts) => start.decide(facts),
    share: { from, to },
    sampler,
    seed,
    signal,
    onProgress: ({ done, total }) => {
      if (indexed === 0) progress.enter('index', total + later)
      indexed = total
      progress.advance(done)
    },
  })
  const onProgress = ({ done }: { done: number }): void => progress.advance(indexed + done)
  const { maxPixels, degradation } = data
  const validation = found && (await ValidationSet.check(found, { signal, maxPixels, degradation, onProgress }))
  return { dataset, validation }
}

/** The page about the run, if it is wanted. @throws WbsrError WBSR_INVALID_FILE, WBSR_IO: it cannot be there */
export async function openReport(settings: TrainSettings, start: Start, data: RunData): Promise<RunReport | null> {
  if (!settings.report) return null
  const { network, batchSize, patchSize, subnetsPerStep } = settings
  const { dataset, validation } = data
  const { images } = dataset.index
  const facts: [string, string][] = [
    [
      'network',
      `${network.name} ×${network.scale}, widths ${network.widths.join(', ')}, depths ${network.depths.join(', ')}`,
    ],
    [
      'photographs',
      `${images.length}, ${dataset.index.difficulties.length} patches; ${validation?.files.length ?? 0} to validate on`,
    ],
    ['left out', `${dataset.skipped.length + (validation?.skipped.length ?? 0)} photographs`],
    ['a step', `${batchSize} patches of ${patchSize} × ${patchSize} HR pixels, subnets: ${subnetsPerStep}`],
  ]
  return await RunReport.open({
    settings,
    dataset,
    validation,
    fingerprint: start.fingerprint,
    facts: { rows: facts, options: start.fingerprint },
    first: start.progress().step,
  })
}

/** p_train(y) of BDLoss, from a sample of the training pixels; null for losses that need none. */
export async function fitMixture(
  { loss, seed }: TrainSettings,
  dataset: Dataset,
  progress: RunProgress,
): Promise<Mixture | null> {
  if (loss.kind !== 'bd') return null
  const { dimension, components, minStd } = loss
  progress.enter('mixture', 1)
  const pixels = await dataset.pixelSample(MIXTURE_PIXELS, seed, ({ done, total }) => {
    if (done === 0) progress.enter('mixture', total)
    else progress.advance(done)
  })
  return fitPixelMixture(pixels, { dimension, components, minStd, seed })
}
