// A ModelState with the real CPU engine and random weights.
import type { ModelState } from '../../lib/model-state.js'
import { native } from '../../lib/native.js'
import type { Network } from '../../lib/networks/network.js'
import { fakeTable } from './fake-engine.js'

/** @param gain factor of the initial weights: with larger weights distant pixels have more influence */
export function realState(network: Network, { threads = 2, gain = 1 } = {}): ModelState {
  const engine = new native.Engine(network.graph, { threads })
  engine.initialise(1)
  if (gain !== 1)
    engine.setArena(
      'weights',
      engine.getArena('weights').map((w) => gain * w),
    )
  return {
    engine,
    network,
    classes: { count: 4, thresholds: [0.02, 0.05, 0.1], kind: 'interval' },
    router: fakeTable(4, 4),
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
  }
}
