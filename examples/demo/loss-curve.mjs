// The loss curve as an SVG picture: every step as a faint dot, a running mean as a line, logarithmic loss axis.

/**
 * SVG of 800 x 400 pixels. Losses that are not positive cannot stand on a logarithmic axis and are left out.
 * @param {readonly number[]} losses
 * @param {string} title
 */
export function lossCurve(losses, title) {
  const [width, height, left, top, right, bottom] = [800, 400, 64, 36, 16, 40]
  const points = losses.flatMap((loss, i) =>
    loss > 0 && Number.isFinite(loss) ? [{ step: i + 1, log: Math.log10(loss) }] : [],
  )
  const logs = points.map((p) => p.log)
  const [low, high] = logs.length ? [Math.min(...logs), Math.max(...logs)] : [-2, 0]
  const span = Math.max(high - low, 1e-6)
  const x = /** @param {number} step */ (step) =>
    (left + ((width - left - right) * (step - 1)) / Math.max(1, losses.length - 1)).toFixed(1)
  const y = /** @param {number} log */ (log) => (top + (height - top - bottom) * (1 - (log - low) / span)).toFixed(1)
  const window = Math.max(1, Math.round(losses.length / 50))
  const mean = points.map((p, i) => {
    const slice = logs.slice(Math.max(0, i - window + 1), i + 1)
    return `${x(p.step)},${y(slice.reduce((a, b) => a + b, 0) / slice.length)}`
  })
  const levels = Array.from({ length: 5 }, (_, i) => low + (span * i) / 4)
  const steps = [0, 0.25, 0.5, 0.75, 1].map((f) => Math.round(1 + f * Math.max(0, losses.length - 1)))
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="${left}" y="20" font-size="15">${title}</text>
${levels.map((v) => `<line x1="${left}" x2="${width - right}" y1="${y(v)}" y2="${y(v)}" stroke="#ddd"/><text x="${left - 6}" y="${Number(y(v)) + 4}" text-anchor="end">${(10 ** v).toPrecision(2)}</text>`).join('\n')}
${steps.map((step) => `<text x="${x(step)}" y="${height - 16}" text-anchor="middle">${step}</text>`).join('\n')}
<g fill="#4a90d9" fill-opacity="0.35">${points.map((p) => `<circle cx="${x(p.step)}" cy="${y(p.log)}" r="1.6"/>`).join('')}</g>
<polyline points="${mean.join(' ')}" fill="none" stroke="#c0392b" stroke-width="2"/>
</svg>
`
}
