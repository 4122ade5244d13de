// wbsr bench: its options and help. What it does is in lib/cli/bench.ts.
import type { Command } from 'commander'
import type { BenchFlags } from '../flags.js'
import { deviceFlags } from '../model.js'
import { number } from '../values.js'

export function benchCommand(program: Command): void {
  deviceFlags(
    program
      .command('bench')
      .summary('how fast a model is here: seconds, megapixels and FLOPs of each subnet')
      .description(
        'Enlarges one picture with each subnet, and as the router chooses, and prints the median seconds of each, millions ' +
          'of result pixels a second, and the work. Decoding and encoding are not counted. Nothing else should run meanwhile.',
      )
      .argument('[picture]', 'a picture of yours (default: one of 512x384 with flat, smooth and noisy parts)')
      .option('-m, --model <file>', 'a model of wbsr or of another tool; or wbsr:NAME of the package (default: its x2)')
      .option('--seconds <number>', 'for each row, at least three runs (default: 1)', number(0, 3600))
      .option('--json', 'JSON on standard output')
      .option('--quiet', 'no progress'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr bench
  wbsr bench photo.jpg -m x2.safetensors --threads 4
  wbsr bench -m 4x.pth --device cuda --json > bench.json`,
    )
    .action(async (picture: string | undefined, flags: BenchFlags) => {
      const { bench } = await import('../bench.js')
      await bench(picture, flags)
    })
}
