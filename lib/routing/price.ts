// The choice by a price, of ARM and of the PSNR predictor: quality in dB minus alpha times cost (method.md section 6).

/** For each row (a class or a tile) the subnet of the largest psnr - alpha cost; of equal ones the cheapest. */
export function bestAtPrice(psnr: readonly (readonly number[])[], costs: readonly number[], alpha: number): number[] {
  return psnr.map((row) => {
    let best = 0
    row.forEach((value, m) => {
      if (value - alpha * costs[m]! > row[best]! - alpha * costs[best]!) best = m
    })
    return best
  })
}

/** Above this price every row whose dB are finite has its cheapest subnet. */
const HIGHEST = 1e4

/**
 * The choice at the lowest price at which its mean cost is within the budget.
 *
 * @param psnr [row][subnet] dB
 * @param costs shares of the largest subnet's, ascending
 * @param share of the area that each row stands for, sums to 1
 * @returns the cheapest subnet for every row when even that exceeds the budget
 */
export function bestWithinBudget(
  psnr: readonly (readonly number[])[],
  costs: readonly number[],
  share: readonly number[],
  budget: number,
): number[] {
  const costOf = (choice: readonly number[]) => choice.reduce((sum, m, i) => sum + share[i]! * costs[m]!, 0)
  const most = budget * (1 + 1e-12)
  let best = bestAtPrice(psnr, costs, 0)
  if (costOf(best) <= most) return best
  best = psnr.map(() => 0)
  // The mean cost does not rise with the price. Bisection over its logarithm, as prices range over several decades.
  for (let low = -16, high = Math.log2(HIGHEST), i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    const choice = bestAtPrice(psnr, costs, 2 ** middle)
    if (costOf(choice) <= most) {
      best = choice
      high = middle
    } else {
      low = middle
    }
  }
  return best
}
