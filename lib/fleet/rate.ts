// How fast this machine is with a model, measured in a second or two.
import { upscale } from '../infer/upscale.js'
import type { ModelState } from '../model-state.js'
import type { RawImage } from '../types.js'

/** Sides in LR pixels, of which the larger one is taken where the smaller one is over too soon. */
const SIDES = [128, 320]
const ENOUGH_SECONDS = 0.25

const rates = new WeakMap<object, Promise<number>>()

/** 2 x MAC that upscale() does in a second here, with the largest subnet, after a warm-up. Measured once for a model. */
export function measureRate(state: ModelState): Promise<number> {
  let rate = rates.get(state.engine)
  if (!rate) {
    rate = measure(state)
    rates.set(state.engine, rate)
    // A failure is not kept.
    rate.catch(() => rates.delete(state.engine))
  }
  return rate
}

async function measure(state: ModelState): Promise<number> {
  const router = { subnet: state.engine.subnets.length - 1 }
  let rate = 0
  for (const side of SIDES) {
    const picture = noise(side)
    await upscale(state, picture, { router })
    const { allocation, seconds } = await upscale(state, picture, { router })
    rate = allocation.flops / seconds
    if (seconds > ENOUGH_SECONDS) break
  }
  return rate
}

function noise(side: number): RawImage {
  const data = new Uint8Array(side * side * 3)
  let state = 1
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = state >>> 24
  }
  return { data, width: side, height: side, channels: 3 }
}
