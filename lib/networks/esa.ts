// Enhanced spatial attention (Liu et al., RFANet, CVPR 2020) as in RFDN and RLFN.

import { TORCH_INIT } from './image.js'
import type { Channels, GraphBuilder, Value } from './network.js'

/**
 * x times a mask that is computed from few channels by a strided convolution, pooling and enlargement. The pooling
 * depends on the size of the input, so tiles give other values than the whole picture; sides must have at least 15
 * pixels.
 *
 * @param middle 'conv3' alone (RLFN), or conv_max, conv3 and conv3_ (RFDN)
 */
export function spatialAttention(
  g: GraphBuilder,
  name: string,
  x: Value,
  options: { features: Channels; channels: Channels; middle: 'one' | 'three' },
): Value {
  const { features, channels, middle } = options
  const conv = (layer: string, input: Value, more: { kernel?: number; stride?: number; padding?: number } = {}) =>
    g.conv(`${name}.${layer}`, input, channels, { ...TORCH_INIT, ...more })
  const reduced = conv('conv1', x, { kernel: 1 })
  let pooled = g.pool(conv('conv2', reduced, { stride: 2, padding: 0 }), { kind: 'max', kernel: 7, stride: 3 })
  if (middle === 'one') pooled = conv('conv3', pooled)
  else pooled = conv('conv3_', g.relu(conv('conv3', g.relu(conv('conv_max', pooled)))))
  const both = g.add(g.resizeLike(pooled, x), conv('conv_f', reduced, { kernel: 1 }))
  return g.multiply(x, g.sigmoid(g.conv(`${name}.conv4`, both, features, { ...TORCH_INIT, kernel: 1 })))
}
