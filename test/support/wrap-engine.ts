// An engine with other device properties than the real ones, and a train() of the test's own: the code paths that lib takes
// on a GPU (few shapes of regions, steps in flight) then run on the CPU, with the CPU's results.
import type { NativeDevice, NativeEngine, TrainJob, TrainReport } from '../../lib/native.js'

export interface WrapOptions {
  device?: Partial<NativeDevice>
  /** Replaces train(). */
  train?: (job: TrainJob, run: (job: TrainJob) => Promise<TrainReport>) => Promise<TrainReport>
}

/** @param engine keeps working and is disposed by the wrapped one's dispose() */
export function wrapEngine(engine: NativeEngine, { device, train }: WrapOptions): NativeEngine {
  return new Proxy(engine, {
    get(target, key) {
      if (key === 'device') return { ...target.device, ...device }
      if (key === 'train' && train) return (job: TrainJob) => train(job, (own) => target.train(own))
      // Native methods need their own object as `this`.
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
  })
}
