// From a decoded frame to one of the size that is wanted.
import type { ModelState } from '../model-state.js'
import { native } from '../native.js'
import { type FramePixels, FrameUpscaler, type FrameWork } from './frames.js'
import type { VideoSettings } from './options.js'
import type { VideoFacts } from './probe.js'

export interface FrameSize {
  width: number
  height: number
}

/** What the network is given so often as the size needs it. */
export function passSizes({ width, height }: FrameSize, size: FrameSize, scale: number): FrameSize[] {
  const passes: FrameSize[] = []
  let [columns, rows] = [width, height]
  do {
    passes.push({ width: columns, height: rows })
    columns *= scale
    rows *= scale
    // One row less than the size is of rounding to even sides.
  } while (columns < size.width - 1 || rows < size.height - 1)
  return passes
}

/** The network as often as the size needs it, then the exact resize. */
export class FramePipeline {
  readonly #passes: FrameUpscaler[]
  readonly #size: FrameSize

  constructor(state: ModelState, facts: VideoFacts, settings: VideoSettings, size: FrameSize) {
    this.#passes = passSizes(facts, size, state.network.scale).map(
      (pass) => new FrameUpscaler(state, { ...pass, bits: facts.bits }, settings.frames),
    )
    this.#size = size
  }

  /** Forgets the last frame, so that the next one is computed as a first one. */
  forget(): void {
    for (const pass of this.#passes) pass.forget()
  }

  async next(data: FramePixels): Promise<FrameWork> {
    let work: FrameWork = { data, flops: 0, saved: 0 }
    for (const pass of this.#passes) {
      const { data: larger, flops, saved } = await pass.next(work.data)
      work = { data: larger, flops: work.flops + flops, saved: work.saved + saved }
    }
    const { width, height } = this.#passes.at(-1)!
    const size = this.#size
    if (width === size.width && height === size.height) return work
    const resized = await native.resizeBicubic(work.data, width, height, 3, size.width, size.height, 0)
    return { ...work, data: resized as FramePixels }
  }

  release(): void {
    for (const pass of this.#passes) pass.release()
  }
}
