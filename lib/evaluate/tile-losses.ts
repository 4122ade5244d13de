// What the networks that see tiles are trained for: losses of a batch of outputs, with their gradients (method.md section 6).

/** Loss of a batch, and its gradient with respect to the outputs of each tile. */
export interface BatchLoss {
  loss: number
  slopes: Float32Array[]
}

/** Weights of ClassSR's three losses, of the authors' configuration for SRResNet. */
export const CLASSSR_WEIGHTS = { image: 1000, class: 0.5, average: 3 }

export function softmax(values: ArrayLike<number>): number[] {
  const list = Array.from(values)
  const most = Math.max(...list)
  const powers = list.map((value) => Math.exp(value - most))
  const total = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / total)
}

/**
 * ClassSR: image loss + class loss (one class for a tile) + average loss (all classes equally often in a batch).
 *
 * @param outputs of the classifier for each tile, before softmax
 * @param errors [tile][class]: mean absolute error of the class's subnet, in [0, 1]
 */
export function classsrLoss(
  outputs: readonly Float32Array[],
  errors: readonly (readonly number[])[],
  weights = CLASSSR_WEIGHTS,
): BatchLoss {
  const batch = outputs.length
  const classes = outputs[0]!.length
  const p = outputs.map(softmax)
  const share = batch / classes
  const excess = Array.from({ length: classes }, (_, i) => p.reduce((sum, row) => sum + row[i]!, 0) - share)
  // Largest when all tiles are of one class: 2 (classes - 1) share. ClassSR's three classes make it 4 share.
  const most = 2 * (classes - 1) * share
  let loss = (weights.average * excess.reduce((sum, value) => sum + Math.abs(value), 0)) / most
  const slopes = p.map((row, b) => {
    // d loss / d p of this tile.
    const ofP = row.map((_, i) => {
      const apart = row.reduce((sum, other) => sum + Math.sign(row[i]! - other), 0)
      return (
        (weights.image * errors[b]![i]! - weights.class * apart) / batch +
        (weights.average * Math.sign(excess[i]!)) / most
      )
    })
    const image = row.reduce((sum, value, i) => sum + value * errors[b]![i]!, 0)
    let apart = 0
    for (let i = 0; i < classes; i++) for (let j = i + 1; j < classes; j++) apart += Math.abs(row[i]! - row[j]!)
    loss += (weights.image * image + weights.class * (classes - 1 - apart)) / batch
    const mean = row.reduce((sum, value, i) => sum + value * ofP[i]!, 0)
    return Float32Array.from(row, (value, i) => value * (ofP[i]! - mean))
  })
  return { loss, slopes }
}

/**
 * Mean absolute error of the outputs.
 *
 * @param targets [tile][output]
 */
export function absoluteLoss(outputs: readonly Float32Array[], targets: readonly (readonly number[])[]): BatchLoss {
  const values = outputs.length * outputs[0]!.length
  let loss = 0
  const slopes = outputs.map((row, b) =>
    row.map((value, i) => {
      const error = value - targets[b]![i]!
      loss += Math.abs(error) / values
      return Math.sign(error) / values
    }),
  )
  return { loss, slopes }
}
