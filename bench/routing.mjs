// What routing saves in seconds and what it costs: a photograph of 512x384 LR pixels at x4 through the calibrated router
// at budget 0.6, against the full network on the whole picture and, for information, on merged tiles.
import path from 'node:path'
import { Contestant, inTurns, median } from './contest.mjs'

const maximum = { seconds: 0.7, overhead: 0.03 }

export async function routing({ threads, rounds, model }) {
  const contestant = new Contestant('wbsr', process.execPath, [
    path.join(import.meta.dirname, 'ours_upscale.mjs'),
    String(threads),
    ...(model ? [model] : []),
  ])
  try {
    await contestant.ask({ do: 'load', name: 'march-pastoral', width: 512, height: 384 })
    const results = await inTurns(
      ['calibrated', 'whole', 'tiled'].map((way) => ({ name: way, contestant, request: { do: 'upscale', way } })),
      rounds,
    )
    const { calibrated, whole, tiled } = results
    const what = '512x384 LR picture, calibrated at budget 0.6'
    const spent = `spends ${(100 * calibrated.answers[0].share).toFixed(1)} % of the operations`
    const row = (against, theirs, target) => {
      const ratio = calibrated.seconds / theirs.seconds
      return {
        what,
        against,
        seconds: calibrated.seconds,
        theirs: theirs.seconds,
        ratio,
        target: target ? `<= ${target}` : '',
        reached: target ? ratio <= target : undefined,
        checked: spent,
      }
    }
    const other = median(calibrated.answers.map(({ timings }) => timings.other))
    const overhead = median(calibrated.answers.map(({ timings, seconds }) => timings.other / seconds))
    return {
      table: [
        row('full network, whole picture', whole, maximum.seconds),
        row('full network, merged tiles', tiled, null),
        {
          what: 'router, tiling and blending',
          against: 'all of it',
          seconds: other,
          theirs: calibrated.seconds,
          ratio: overhead,
          target: `<= ${maximum.overhead}`,
          reached: overhead <= maximum.overhead,
          checked: `tiles per subnet ${calibrated.answers[0].histogram.join(' ')}`,
        },
      ],
      details: { results },
    }
  } finally {
    await contestant.close()
  }
}
