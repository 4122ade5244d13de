// What a training run shows: a live line with the time to go, and lines that stay.
import type {
  EpochReport,
  ProgressReport,
  StartReport,
  StepReport,
  SupernetModel,
  TrainOptions,
  ValidationReport,
} from '../index.js'
import { duration, Terminal } from './terminal.js'

/** Between two lines about steps, where there is no terminal. */
const LINE_MS = 30_000
/** Between two lines about epochs, which may be short. */
const EPOCH_MS = 5000
const SKIPPED_SHOWN = 5

export class TrainReporter {
  readonly #terminal: Terminal
  readonly #json: boolean
  readonly #page: string | null
  #step: StepReport | null = null
  #phase: string | null = null
  #told = performance.now()
  #epochTold = -Infinity

  /** @param page the HTML report of the run; null: none */
  constructor({ json, quiet, page }: { json: boolean; quiet: boolean; page: string | null }) {
    this.#json = json
    this.#page = page
    this.#terminal = new Terminal({ quiet: quiet || json })
  }

  get callbacks(): Pick<TrainOptions, 'onStart' | 'onStep' | 'onEpoch' | 'onValidation' | 'onProgress'> {
    const told = <T extends object>(event: string, show: (report: T) => void) => {
      return (report: T) => {
        if (this.#json) process.stdout.write(`${JSON.stringify({ event, ...report })}\n`)
        show(report)
      }
    }
    return {
      onStart: told('start', (report: StartReport) => this.#started(report)),
      onStep: told('step', (report: StepReport) => {
        this.#step = report
      }),
      onEpoch: told('epoch', (report: EpochReport) => this.#epoch(report)),
      onValidation: told('validation', (report: ValidationReport) => this.#validated(report)),
      onProgress: told('progress', (report: ProgressReport) => this.#progress(report)),
    }
  }

  clear(): void {
    this.#terminal.clear()
  }

  end(out: string, model: SupernetModel): void {
    const { parameters } = model.subnets.at(-1)!
    if (this.#json) process.stdout.write(`${JSON.stringify({ event: 'end', model: out, parameters })}\n`)
    this.#terminal.line(`${out}: x${model.scale}, ${model.subnets.length} subnets, ${parameters} parameters`)
  }

  stopped(directory: string | undefined): void {
    this.#terminal.line(
      directory === undefined
        ? 'stopped; nothing was kept (--no-checkpoint)'
        : `stopped; the same command goes on from ${directory}, where a checkpoint was written`,
    )
  }

  #started({ images, patches, validationImages, skipped, steps, resumedFrom }: StartReport): void {
    this.#terminal.line(
      `${images} photographs, ${patches} patches, ${validationImages} to validate on; ${steps} steps` +
        (resumedFrom > 0 ? `, ${resumedFrom} of them done before` : ''),
    )
    if (this.#page !== null) this.#terminal.line(`${this.#page} shows the run in a browser`)
    for (const { file, reason } of skipped.slice(0, SKIPPED_SHOWN))
      this.#terminal.warn(`${file} is left out: ${reason}`)
    if (skipped.length > SKIPPED_SHOWN)
      this.#terminal.warn(`${skipped.length - SKIPPED_SHOWN} more photographs are left out`)
  }

  #epoch({ epoch, epochs, step, steps, loss, seconds }: EpochReport): void {
    const now = performance.now()
    if (step < steps && now - this.#epochTold < EPOCH_MS) return
    this.#epochTold = now
    this.#terminal.line(
      `epoch ${epoch}/${epochs}, step ${step}/${steps}: loss ${loss.toFixed(5)}, ${duration(seconds)}`,
    )
  }

  #validated({ step, bicubic, smallest, largest, best }: ValidationReport): void {
    const gain = (psnr: number) => `${psnr >= bicubic.y ? '+' : ''}${(psnr - bicubic.y).toFixed(2)}`
    this.#terminal.line(
      `step ${step}: bicubic ${bicubic.y.toFixed(2)} dB, smallest subnet ${gain(smallest.y)}, largest ${gain(largest.y)}` +
        (best ? this.#terminal.style('green', ' (best)') : ''),
    )
  }

  #progress({ phase, done, total, eta }: ProgressReport): void {
    const loss = phase === 'steps' && this.#step ? `, loss ${this.#step.loss.toFixed(5)}` : ''
    const left = eta === null ? '' : `, ${duration(eta)} to go`
    const text = `${phase} ${done}/${total}${loss}${left}`
    if (this.#terminal.live) {
      this.#terminal.status(text)
      return
    }
    const now = performance.now()
    if (total === 0 || (phase === this.#phase && now - this.#told < LINE_MS)) return
    this.#phase = phase
    this.#told = now
    this.#terminal.line(text)
  }
}
