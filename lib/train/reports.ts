// The reports of trainSupernet's callbacks, and the meter for the speeds in them.

/** Before the first step. */
export interface StartReport {
  steps: number
  epochs: number
  /** Steps that the checkpoint had done already, with `extend` those of the run that is extended included. */
  resumedFrom: number
  /** Of `from`: parameters that were taken from there, and names of those that were initialised. */
  from?: { taken: number; initialised: string[] }
  /** Of `extend`: the step after which the extension begins. */
  extendedFrom?: number
  /** Of `extend`: whether Adam's moments begin anew, because the learning rate begins far above that of the run's end. */
  newMoments?: boolean
  /** Usable training images, their patches in the index, and validation images. */
  images: number
  patches: number
  validationImages: number
  /** Images that are left out, and why. Without onStart they are reported by process.emitWarning. */
  skipped: readonly { file: string; reason: string }[]
  /** Patches in each difficulty class, easiest first. */
  classCounts: number[]
}

/** After every optimizer step. */
export interface StepReport {
  /** 1 .. steps. */
  step: number
  steps: number
  /** 1 .. epochs: the epoch this step belongs to. */
  epoch: number
  epochs: number
  /** Means over pixels and over the subnets of the step; data + balance + frequency = loss. */
  loss: number
  data: number
  /** The balancing term of BDLoss; 0 for other losses. */
  balance: number
  /** The frequency term, weighted; 0 without one. */
  frequency: number
  /** Mean |dL/dy| of the balancing term over that of the data term; 0 without a balancing term. */
  gradientRatio: number
  learningRate: number
  /** BDLoss noise scale of this step in [0, 1] pixel values; 0 for other losses. */
  sigma: number
  /** Which subnets were trained, and the loss of each. */
  losses: { subnet: number; loss: number }[]
  /** HR patches drawn per second, over the last steps. */
  imagesPerSecond: number
  /** Share of the time, over the last steps, in which the device waited for data: 0 .. 1. */
  waitForData: number
  /** Seconds until the model is there, at the speeds measured so far: steps, validations and calibration. */
  eta: number
  /** In how many parts the batch was run, where the GPU's memory did not hold it as a whole. */
  parts?: number
}

/** After the last step of every epoch (one epoch draws as many patches as the index holds) and after the last step. */
export interface EpochReport {
  epoch: number
  epochs: number
  step: number
  steps: number
  /** Means over the steps of this epoch, also where a resumed run did some of them earlier. */
  loss: number
  data: number
  balance: number
  frequency: number
  gradientRatio: number
  /** Steps that these are means of (the last epoch may have fewer). */
  stepsRun: number
  /** Wall-clock seconds that this process spent on them. */
  seconds: number
}

/** PSNR in dB, border of `scale` HR pixels shaved (protocol.md), mean over images. Infinite where a result equals its original. */
export interface Psnr {
  y: number
  rgb: number
}

/** After every validation. */
export interface ValidationReport {
  epoch: number
  epochs: number
  step: number
  steps: number
  images: number
  /** True when the moving average of the weights was measured (`ema` is on). */
  ema: boolean
  bicubic: Psnr
  smallest: Psnr
  largest: Psnr
  /** Whether no validation before gave a better mean PSNR on Y of the two; `best.safetensors` holds this state then. */
  best: boolean
  seconds: number
}

/** A validation as the model's training record keeps it; without seconds, so that equal runs make equal files. */
export type HistoryEntry = Omit<ValidationReport, 'seconds' | 'best'>

/** Sums over the steps of the epoch under way; in the checkpoint, so that a resumed epoch reports as a whole. */
export interface EpochSums {
  steps: number
  loss: number
  data: number
  balance: number
  frequency: number
  gradientRatio: number
}

/** The numbers that are averaged over the steps of an epoch. */
type StepNumbers = Omit<EpochSums, 'steps'>

export const noSums = (): EpochSums => ({
  steps: 0,
  loss: 0,
  data: 0,
  balance: 0,
  frequency: 0,
  gradientRatio: 0,
})

export function addToSums(sums: EpochSums, step: StepNumbers): void {
  sums.steps++
  sums.loss += step.loss
  sums.data += step.data
  sums.balance += step.balance
  sums.frequency += step.frequency
  sums.gradientRatio += step.gradientRatio
}

export const meansOf = ({ steps, loss, data, balance, frequency, gradientRatio }: EpochSums): StepNumbers => ({
  loss: loss / steps,
  data: data / steps,
  balance: balance / steps,
  frequency: frequency / steps,
  gradientRatio: gradientRatio / steps,
})

const WINDOW = 50

/** Speeds over the last steps. */
export class Meter {
  readonly #steps: { total: number; waited: number }[] = []
  readonly #images: number

  constructor(imagesPerStep: number) {
    this.#images = imagesPerStep
  }

  /** One step took `total` seconds, `waited` of them without data. */
  add(total: number, waited: number): void {
    this.#steps.push({ total, waited })
    if (this.#steps.length > WINDOW) this.#steps.shift()
  }

  read(): { imagesPerSecond: number; waitForData: number } {
    const total = this.#steps.reduce((sum, s) => sum + s.total, 0)
    const waited = this.#steps.reduce((sum, s) => sum + s.waited, 0)
    const count = this.#steps.length
    if (count === 0 || total === 0) return { imagesPerSecond: 0, waitForData: 0 }
    return { imagesPerSecond: (count * this.#images) / total, waitForData: Math.min(1, waited / total) }
  }

  /** Of a step; null before the first. */
  get seconds(): number | null {
    const count = this.#steps.length
    return count === 0 ? null : this.#steps.reduce((sum, { total }) => sum + total, 0) / count
  }
}
