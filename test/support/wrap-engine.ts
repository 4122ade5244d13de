// An engine that says other things of its device than are true, and may take its time to report a step: what lib does on
// a GPU (few shapes of regions, steps in flight) then runs on the CPU, with its numbers.
import type { NativeDevice, NativeEngine, TrainJob, TrainReport } from '../../lib/native.js'

export interface WrapOptions {
  device?: Partial<NativeDevice>
  /** In place of train(). */
  train?: (job: TrainJob, run: (job: TrainJob) => Promise<TrainReport>) => Promise<TrainReport>
}

/** @param engine keeps working and is disposed by the wrapped one's dispose() */
export function wrapEngine(engine: NativeEngine, { device, train }: WrapOptions): NativeEngine {
  return new Proxy(engine, {
    get(target, key) {
      if (key === 'device') return { ...target.device, ...device }
      if (key === 'train' && train) return (job: TrainJob) => train(job, (own) => target.train(own))
      // Native methods want the object that they belong to.
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
  })
}
