// Which steps of a run end an epoch, are followed by a validation, or are saved.
import type { TrainSettings } from './options.js'

/** Where a run is, between two steps: `step` of `steps` are done, in epoch 1 .. epochs. */
export interface Position {
  step: number
  steps: number
  epoch: number
  epochs: number
}

export class Due {
  readonly #steps: number
  readonly #stepsPerEpoch: number
  readonly #validateEvery: number
  readonly #saveEvery: number

  /** @param run steps of the whole run and of one epoch */
  constructor(
    run: { steps: number; stepsPerEpoch: number },
    { validateEverySteps, checkpoint }: Pick<TrainSettings, 'validateEverySteps' | 'checkpoint'>,
  ) {
    this.#steps = run.steps
    this.#stepsPerEpoch = run.stepsPerEpoch
    this.#validateEvery = validateEverySteps ?? run.stepsPerEpoch
    this.#saveEvery = checkpoint?.everySteps ?? Number.POSITIVE_INFINITY
  }

  position(step: number): Position {
    return {
      step,
      steps: this.#steps,
      epoch: Math.ceil(step / this.#stepsPerEpoch),
      epochs: Math.ceil(this.#steps / this.#stepsPerEpoch),
    }
  }

  isLast(step: number): boolean {
    return step === this.#steps
  }

  endsEpoch(step: number): boolean {
    return this.isLast(step) || step % this.#stepsPerEpoch === 0
  }

  /** Whether a validation follows the step, if there are validation images. */
  validates(step: number): boolean {
    return this.isLast(step) || step % this.#validateEvery === 0
  }

  /** Whether a checkpoint is due before the end; the last step is always saved. */
  saves(step: number): boolean {
    return step % this.#saveEvery === 0
  }

  /** Whether the next step must wait for work after this one that reads the engine or ends an epoch. */
  any(step: number): boolean {
    return this.endsEpoch(step) || this.validates(step) || this.saves(step)
  }

  /** Validations after more than `step` steps. */
  validationsAfter(step: number): number {
    const every = this.#validateEvery
    const atTheEnd = this.#steps % every !== 0 && step < this.#steps ? 1 : 0
    return Math.floor(this.#steps / every) - Math.floor(step / every) + atTheEnd
  }
}
