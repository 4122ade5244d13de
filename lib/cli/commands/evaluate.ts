// wbsr evaluate: its options and help. What it does is in lib/cli/evaluate.ts.
import { type Command, Option } from 'commander'
import type { EvaluateFlags } from '../flags.js'
import { deviceFlags } from '../model.js'
import { RUN_CHOICES, runs } from '../values.js'

export function evaluateCommand(program: Command): void {
  deviceFlags(
    program
      .command('evaluate')
      .summary('measure a model: PSNR, SSIM and cost on sets of pictures')
      .description(
        'Measures a model on pictures whose originals are known and prints a table for each set. docs/evaluation.md is the ' +
          'guide.',
      )
      .argument(
        '<pictures...>',
        'folders or patterns in quotes of HR pictures, a set each; files, one set together; NAME=PATH names a set',
      )
      .requiredOption('-m, --model <file>', 'a model of wbsr or of another tool; or wbsr:NAME of the package')
      .option('--lr <path>', 'LR files of the pictures, of a single set (default: made by antialiased bicubic)')
      .option('-d, --directory <folder>', 'keeps results and pictures; what is there already is not measured again')
      .addOption(
        new Option('--protocol <name>', "'paper': tiles as published figures were measured").choices(['full', 'paper']),
      )
      .addOption(
        new Option('--by <rows>', 'what a row of the table is (default: a set)').choices(['set', 'picture', 'class']),
      )
      .option(
        '--runs <list>',
        `what is compared, by commas: ${RUN_CHOICES} (default: smallest, a loss of 0.02 dB, budgets, largest)`,
        runs,
      )
      .option('--pictures <list>', 'to write into --directory: sr,error,allocation')
      .option('--no-ssim', 'PSNR alone')
      .addOption(new Option('--csv', 'CSV in place of tables').conflicts('json'))
      .option('--json', 'everything that was measured, as JSON')
      .option('--quiet', 'no progress'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr evaluate held-out/ -m x2.safetensors
  wbsr evaluate set5=data/set5 set14=data/set14 -m x2.safetensors --protocol paper --csv > results.csv
  wbsr evaluate a.png b.png -m x2.safetensors --runs smallest,budget:0.5,largest --by picture
  wbsr evaluate held-out/ -m x2.safetensors -d results --pictures sr,error`,
    )
    .action(async (pictures: string[], flags: EvaluateFlags) => {
      const { evaluateSets } = await import('../evaluate.js')
      await evaluateSets(pictures, flags)
    })
}
