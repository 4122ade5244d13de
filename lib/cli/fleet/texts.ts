// What wbsr fleet prints for people.

import type { Price } from '../../fleet/picture-job.js'
import { type Prediction, predict } from '../../fleet/predict.js'
import type { RunStatus } from '../../fleet/run.js'
import { duration, percent } from '../terminal.js'

const size = ({ width, height }: { width: number; height: number }) => `${width}x${height}`
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`

/** The price of pictures, and a table of how long they take. */
export function priceText(prices: readonly Price[], workers: readonly number[]): string {
  const sum = (of: (price: Price) => number) => prices.reduce((total, price) => total + of(price), 0)
  const flops = sum((price) => price.flops)
  const bands = sum(({ bands }) => bands.length)
  const lengths = prices.flatMap(({ bands, rate }) => bands.map((band) => band.flops / rate))
  const [first] = prices
  const lines = [
    prices.length === 1
      ? `${first!.name}: ${size(first!.input)} -> ${size(first!.output)}`
      : `${prices.length} pictures, ${(sum(({ output }) => output.width * output.height) / 1e6).toFixed(1)} megapixels of results`,
    `work      ${(flops / 1e12).toFixed(2)} TFLOP (2 x multiply-adds)${prices.some(({ kind }) => kind !== 'bands') ? ' at most' : ''}, ` +
      `${percent(flops > 0 ? sum((price) => (price.flops * price.overhead) / (1 + price.overhead)) / flops : 0)} of it because of cuts`,
    `parts     ${bands}, of ${duration(Math.min(...lengths))} to ${duration(Math.max(...lengths))} on a machine like this (${(first!.rate / 1e9).toFixed(1)} GFLOP/s)`,
    first!.kind === 'video'
      ? `store     ${megabytes(first!.bytes.input)} of video; decoding and encoding are not counted`
      : `store     ${megabytes(sum(({ bytes }) => bytes.input))} of rows, ${megabytes(sum(({ bytes }) => bytes.bands))} of bands, results of up to ${megabytes(sum(({ bytes }) => bytes.result))}`,
    '',
    'workers   all       splitting  bands     assembly  busy',
  ]
  const row = ({ workers: count, seconds, parts, busy }: Prediction) =>
    [
      String(count),
      duration(seconds),
      duration(parts.splitting),
      duration(parts.bands),
      duration(parts.assembly),
      percent(busy),
    ]
      .map((text, i) => text.padEnd(i === 2 ? 11 : 10))
      .join('')
      .trimEnd()
  return `${[...lines, ...workers.map((count) => row(predict(prices, count)))].join('\n')}\n`
}

/** A job in one line, and what is wrong with it in others. */
export function statusText({
  id,
  name,
  state,
  done,
  total,
  active,
  workers,
  eta,
  failure,
  refusals,
}: RunStatus): string {
  const facts = [
    `${id}  ${state}`,
    `${done} of ${total}${active > 0 ? `, ${active} under way` : ''}`,
    ...(state === 'running' || state === 'waiting' ? [`${workers} workers`] : []),
    ...(state === 'running' && eta !== null ? [`${duration(eta)} to go`] : []),
    name,
  ]
  const wrong = [
    ...(failure ? [`${failure.code}: ${failure.message}`] : []),
    ...refusals.map((text) => `refused by ${text}`),
  ]
  return [facts.join('  '), ...wrong.map((text) => `  ${text}`), ''].join('\n')
}
