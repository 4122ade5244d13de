// The training loss as users set it, and what a run keeps of it: the noise scale sigma over time. The arithmetic is
// native (native/core/math/bdloss.h).
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import type { Mixture } from '../model-state.js'
import { type NativeLoss, native } from '../native.js'
import { checkBoolean, checkChoice, checkInteger, checkNumber, checkObject } from '../options.js'
import { type ElementLoss, LOSSES } from './loss-names.js'
import { toNativeMixture } from './mixture.js'

/** How BDLoss's noise scale sigma goes through a run. All values are in units of [0, 1]. */
export interface SigmaOptions {
  /** Value at the start, 0.001 to 1. */
  initial: number
  /** Ramp linearly over the steps of the run to this value. Not together with `learn`. */
  final?: number
  /** Learn sigma by gradient, in an Adam group of its own, on log sigma. Default false. */
  learn?: boolean
  /** Of that group, default 1e-3: sigma changes by about 0.1 % a step at most. */
  learningRate?: number
  /** Bounds of a learned sigma, default initial / 4 and initial * 4. */
  floor?: number
  cap?: number
}

/** BDLoss (Balanced Diversity Loss, WBSR, NeurIPS 2024; closed form of Balanced MSE, CVPR 2022). */
export interface BalancedLossOptions {
  kind: 'bd'
  /** What one value of the distribution is: a `channel` value (default) or an `rgb` pixel with full covariances. */
  space?: 'channel' | 'rgb'
  /** Gaussians in the mixture that models the training pixels, 1 to 32, default 8. */
  components?: number
  /** Scale of the prediction's noise, default 0.02 (34 dB): a number keeps it fixed. The paper does not give it. */
  sigma?: number | SigmaOptions
  /**
   * The data term. `l2` is the likelihood that the balancing term belongs to. `l1` (default) replaces it by |e|, with
   * the balancing term divided by c = max(typicalResidual, 1.1 x its largest slope): an approximation, since a Laplace
   * likelihood has no closed-form product with a Gaussian mixture; the bound keeps predictions from running away.
   */
  fidelity?: 'l1' | 'l2'
  /** For fidelity `l1`: the residual at which c|e| and e^2 are equal, in units of [0, 1]. Default: sigma. */
  typicalResidual?: number
  /** Floor of the components' standard deviations, 1/255 to 0.5, default 4/255. */
  minStd?: number
  /** As {@link PlainLossOptions.frequency}. */
  frequency?: number
}

/** The mean of an element loss. */
export interface PlainLossOptions {
  kind: ElementLoss
  /**
   * Weight of the frequency term, 0 (default: none) to 10: the mean over batch, channels and coefficients of |real part| and
   * |imaginary part| of the unnormalised 2-D DFT (torch.fft.rfft2) of prediction - target. MIMO-UNet (ICCV 2021) has 0.1,
   * SAFMN (ICCV 2023) 0.05. Coefficients grow with the side of the patch, and the share of the term with them.
   */
  frequency?: number
}

/** A name is short for `{ kind: name }`. */
export type LossOptions = BalancedLossOptions | PlainLossOptions | 'bd' | ElementLoss

export interface CheckedSigma {
  initial: number
  final: number | null
  learn: boolean
  learningRate: number
  floor: number
  cap: number
}

/** {@link LossOptions} with every default filled in: plain data, fit for a checkpoint. */
export type CheckedLoss =
  | { kind: ElementLoss; frequency?: number }
  | {
      kind: 'bd'
      space: 'channel' | 'rgb'
      /** D: 1 for channel, 3 for rgb. The mixture must have it. */
      dimension: 1 | 3
      components: number
      sigma: CheckedSigma
      fidelity: 'l1' | 'l2'
      typicalResidual: number | null
      minStd: number
      frequency?: number
    }

const BD_KEYS = ['kind', 'space', 'components', 'sigma', 'fidelity', 'typicalResidual', 'minStd', 'frequency'] as const
const MIN_SIGMA = 0.001 // below, 2 sigma^2 LSE is lost in the rounding of the data term

/**
 * Checks the `loss` option and fills in its defaults; `undefined` is BDLoss with all defaults.
 *
 * @throws WbsrError WBSR_INVALID_OPTION that names the wrong key.
 */
export function checkLoss(options: unknown = 'bd', name = 'loss'): CheckedLoss {
  const given = typeof options === 'string' ? { kind: checkChoice(options, name, LOSSES) } : options
  const kind = checkChoice(checkObject(given, name, BD_KEYS).kind, `${name}.kind`, LOSSES)
  const o = given as Record<string, unknown>
  const weight = checkNumber(o.frequency ?? 0, `${name}.frequency`, 0, 10)
  // Absent where there is none: checkpoints of runs without the term stay the same.
  const frequency = weight > 0 ? { frequency: weight } : {}
  if (kind !== 'bd') {
    checkObject(given, `${name} of kind '${kind}'`, ['kind', 'frequency'])
    return { kind, ...frequency }
  }
  const fidelity = checkChoice(o.fidelity ?? 'l1', `${name}.fidelity`, ['l1', 'l2'] as const)
  if (fidelity === 'l2' && o.typicalResidual !== undefined)
    throw invalidOption(`${name}.typicalResidual`, `no value with fidelity 'l2'`, o.typicalResidual)
  const space = checkChoice(o.space ?? 'channel', `${name}.space`, ['channel', 'rgb'] as const)
  return {
    kind,
    space,
    dimension: space === 'channel' ? 1 : 3,
    components: checkInteger(o.components ?? 8, `${name}.components`, 1, 32),
    sigma: checkSigma(o.sigma ?? 0.02, `${name}.sigma`),
    fidelity,
    typicalResidual:
      o.typicalResidual === undefined ? null : checkNumber(o.typicalResidual, `${name}.typicalResidual`, 1e-4, 1),
    minStd: checkNumber(o.minStd ?? 4 / 255, `${name}.minStd`, 1 / 255, 0.5),
    ...frequency,
  }
}

function checkSigma(value: unknown, name: string): CheckedSigma {
  const o = typeof value === 'number' ? { initial: checkNumber(value, name, MIN_SIGMA, 1) } : value
  if (typeof o !== 'object') throw invalidOption(name, `a number between ${MIN_SIGMA} and 1 or an object`, value)
  const {
    initial: first,
    final,
    learn,
    learningRate,
    floor,
    cap,
  } = checkObject(o, name, ['initial', 'final', 'learn', 'learningRate', 'floor', 'cap'])
  const initial = checkNumber(first, `${name}.initial`, MIN_SIGMA, 1)
  const learned = checkBoolean(learn ?? false, `${name}.learn`)
  if (learned && final !== undefined) throw invalidOption(`${name}.final`, 'no value together with learn', final)
  for (const [key, given] of Object.entries({ learningRate, floor, cap })) {
    if (!learned && given !== undefined) throw invalidOption(`${name}.${key}`, 'no value without learn', given)
  }
  return {
    initial,
    final: final === undefined ? null : checkNumber(final, `${name}.final`, MIN_SIGMA, 1),
    learn: learned,
    learningRate: checkNumber(learningRate ?? 1e-3, `${name}.learningRate`, 1e-8, 0.1),
    floor: checkNumber(floor ?? Math.max(initial / 4, MIN_SIGMA), `${name}.floor`, MIN_SIGMA, initial),
    cap: checkNumber(cap ?? Math.min(initial * 4, 1), `${name}.cap`, initial, 1),
  }
}

/** What a checkpoint keeps of a {@link LossController}: sigma and its Adam moments. */
export interface LossState {
  sigma: number
  m: number
  v: number
  steps: number
}

/**
 * The loss of a run. In each step the trainer calls
 *
 *     const loss = await controller.nativeLoss(step / steps)   // for TrainJob.loss, or evaluateLoss
 *     const report = await engine.train({ ..., loss })
 *     controller.update(report.sigmaGradient)                  // only if report.finite
 *
 * and stores `controller.state()` in checkpoints. Numbers depend on the options, the mixture, the progress and the state
 * alone, so a restored run continues exactly.
 */
export class LossController {
  readonly #loss: CheckedLoss
  readonly #mixture: NonNullable<NativeLoss['mixture']> | undefined
  readonly #scales = new Map<number, Promise<number>>()
  #state: LossState

  /** @param mixture required for kind 'bd', of the loss's dimension; ignored otherwise. */
  constructor(checked: CheckedLoss, mixture: Mixture | null) {
    this.#loss = checked
    this.#state = { sigma: checked.kind === 'bd' ? checked.sigma.initial : 0, m: 0, v: 0, steps: 0 }
    if (checked.kind !== 'bd') return
    if (mixture?.dimension !== checked.dimension) {
      throw invalidOption(
        'mixture',
        `a mixture of dimension ${checked.dimension}`,
        mixture && `one of dimension ${mixture.dimension}`,
      )
    }
    this.#mixture = toNativeMixture(mixture)
  }

  /** Sigma at `progress`, from 0 (first step) to 1; 0 without a balancing term. */
  sigma(progress: number): number {
    if (this.#loss.kind !== 'bd') return 0
    const { initial, final, learn } = this.#loss.sigma
    if (learn) return this.#state.sigma
    return final === null ? initial : initial + (final - initial) * Math.min(Math.max(progress, 0), 1)
  }

  /** What the native side needs for one step. */
  async nativeLoss(progress: number): Promise<NativeLoss> {
    const loss = this.#loss
    const frequency = loss.frequency === undefined ? {} : { frequency: loss.frequency }
    if (loss.kind !== 'bd')
      return { kind: loss.kind, fidelity: loss.kind, dimension: 1, sigma: 0, fidelityScale: 1, ...frequency }
    const sigma = this.sigma(progress)
    const spec = {
      kind: 'bd' as const,
      fidelity: loss.fidelity,
      dimension: loss.dimension,
      sigma,
      fidelityScale: 1,
      mixture: this.#mixture,
      ...frequency,
    }
    return loss.fidelity === 'l1' ? { ...spec, fidelityScale: await this.#fidelityScale(spec) } : spec
  }

  // c costs a search over [0, 1]^D. A sigma that changes with every step takes the c of the next larger sigma on a grid
  // of 1 % steps: at most a few hundred searches a run, c grows with sigma and so still bounds the slope, and as it
  // depends on sigma alone nothing about it needs storing.
  #fidelityScale(spec: NativeLoss): Promise<number> {
    const loss = this.#loss as CheckedLoss & { kind: 'bd' }
    const fixed = !loss.sigma.learn && loss.sigma.final === null
    const step = Math.ceil(Math.log(spec.sigma) / Math.log(1.01) - 1e-9)
    let scale = this.#scales.get(step)
    if (!scale) {
      const sigma = fixed ? spec.sigma : 1.01 ** step
      scale = native
        .fidelityScale({ ...spec, sigma }, loss.typicalResidual ?? sigma)
        .catch((error: unknown) => Promise.reject(wrapError(error)))
      this.#scales.set(step, scale)
    }
    return scale
  }

  /**
   * One Adam step of a learned sigma; nothing otherwise.
   *
   * @param sigmaGradient dL/dsigma as the native side reports it.
   * @throws WbsrError WBSR_NON_FINITE, and the state is left alone.
   */
  update(sigmaGradient: number): void {
    if (this.#loss.kind !== 'bd' || !this.#loss.sigma.learn) return
    if (!Number.isFinite(sigmaGradient))
      throw new WbsrError('WBSR_NON_FINITE', `The gradient of the loss's sigma became ${sigmaGradient}`)
    const { learningRate, floor, cap } = this.#loss.sigma
    const { sigma } = this.#state
    // On log sigma (dL/dlog sigma = sigma dL/dsigma), so that steps are relative and sigma stays positive.
    const gradient = sigma * sigmaGradient
    const steps = this.#state.steps + 1
    const m = 0.9 * this.#state.m + 0.1 * gradient
    const v = 0.999 * this.#state.v + 0.001 * gradient * gradient
    const change = (learningRate * (m / (1 - 0.9 ** steps))) / (Math.sqrt(v / (1 - 0.999 ** steps)) + 1e-12)
    this.#state = { sigma: Math.min(Math.max(sigma * Math.exp(-change), floor), cap), m, v, steps }
  }

  /** Plain numbers for a checkpoint. */
  state(): LossState {
    return { ...this.#state }
  }

  /** @throws WbsrError WBSR_INVALID_FILE when `state` is not what state() returned for such options. */
  restore(state: unknown): void {
    const s = state as Partial<Record<keyof LossState, unknown>> | null
    const numbers = [s?.sigma, s?.m, s?.v, s?.steps]
    const { floor, cap } = this.#loss.kind === 'bd' && this.#loss.sigma.learn ? this.#loss.sigma : { floor: 0, cap: 1 }
    if (
      !numbers.every((value) => Number.isFinite(value)) ||
      (s!.sigma as number) < floor ||
      (s!.sigma as number) > cap ||
      (s!.steps as number) < 0 ||
      (s!.v as number) < 0
    ) {
      throw new WbsrError(
        'WBSR_INVALID_FILE',
        "The checkpoint's loss state is damaged or belongs to other loss options",
      )
    }
    this.#state = { sigma: s!.sigma as number, m: s!.m as number, v: s!.v as number, steps: s!.steps as number }
  }
}
