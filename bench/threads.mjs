// Part `threads` of `npm run bench`: SRResNet x4, width 64, 16 blocks, on a batch of sixteen 32x32 LR patches with several threads
// against one thread; and what the machine itself gives: as many programs of one thread each at once.
import path from 'node:path'
import { Contestant, inTurns } from './contest.mjs'
import { largest, prepare, shape } from './network.mjs'

const WANTED = 1.9

export async function threadsPart({ folder, threads, rounds }) {
  const { weights, input } = await prepare(folder)
  const ours = (name, count) =>
    new Contestant(name, process.execPath, [path.join(import.meta.dirname, 'ours.mjs'), String(count)])
  const several = ours('several', threads)
  const alone = Array.from({ length: threads }, (_, i) => ours(`alone ${i}`, 1))
  // One turn of all at once counts as one contestant.
  const together = {
    ask: async (request) => {
      const answers = await Promise.all(alone.map((contestant) => contestant.ask(request)))
      return { seconds: Math.max(...answers.map(({ seconds }) => seconds)) }
    },
  }
  try {
    const load = { do: 'load', weights, input, shape, scale: 4, widths: [largest.width], depths: [largest.depth] }
    await several.ask(load)
    for (const contestant of alone) await contestant.ask(load)
    const results = await inTurns(
      [
        { name: 'several', contestant: several },
        { name: 'one', contestant: alone[0] },
        { name: 'programs', contestant: together },
      ].map((entrant) => ({ ...entrant, request: { do: 'infer' } })),
      rounds,
    )
    const what = 'SRResNet x4 64x16, 16 x 32x32'
    const ratio = results.one.seconds / results.several.seconds
    const machine = (threads * results.one.seconds) / results.programs.seconds
    return {
      table: [
        {
          what: `${what}, ${threads} threads`,
          against: 'wbsr, one thread',
          seconds: results.several.seconds,
          theirs: results.one.seconds,
          ratio,
          target: threads === 2 ? `>= ${WANTED} x` : '',
          reached: threads === 2 ? ratio >= WANTED : undefined,
          checked: `${threads} programs of one thread at once do ${machine.toFixed(2)} x the work of one`,
        },
      ],
      details: { results, machine },
    }
  } finally {
    await Promise.all([several, ...alone].map((contestant) => contestant.close()))
  }
}
