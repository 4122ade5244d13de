// wbsr compare: its options and help. What it does is in lib/cli/compare.ts.
import { type Command, Option } from 'commander'
import type { CompareFlags } from '../flags.js'
import { deviceFlags } from '../model.js'
import { number, ROUTER_CHOICES, router } from '../values.js'

export function compareCommand(program: Command): void {
  deviceFlags(
    program
      .command('compare')
      .summary('one page with a slider, zoom, difference and figures')
      .description(
        'Writes a page that compares pictures: slider, zoom, difference, PSNR and SSIM, and which subnet ran where. The page ' +
          'is one file that works without a server. With --model, or of a single picture, the first picture is enlarged ' +
          'and its bicubic enlargement and the result are compared with each other and with the pictures after it.',
      )
      .argument('<pictures...>', 'files; smaller ones of the same shape are enlarged by bicubic interpolation')
      .option('-o, --out <file>', 'the page (default: compare.html)')
      .option('-m, --model <file>', 'enlarges the first picture: a model file, or wbsr:NAME of the package')
      .option('--labels <list>', 'names of the pictures in the page, with commas between them')
      .option('--title <text>', 'heading of the page')
      .option('--router <name>', ROUTER_CHOICES, router)
      .addOption(
        new Option('--loss <dB>', 'that may be lost against the largest subnet (default: 0.02)')
          .argParser(number(0, 100))
          .conflicts('budget'),
      )
      .option('--budget <share>', "instead: of the largest subnet's cost, above 0 and at most 1", number(0, 1))
      .option(
        '--map <file>',
        'a map of the last picture that wbsr upscale --map wrote (default: NAME-map.png beside it, where it is)',
      )
      .option('--json', 'sizes and figures as JSON on standard output')
      .option('--quiet', 'errors only'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr compare photo.jpg                                   bicubic against the package's model
  wbsr compare photo.jpg --model wbsr:x2 -o photo.html
  wbsr compare before.png after.png
  wbsr compare small.png original.png -m x2.safetensors    and both against the original, with PSNR and SSIM`,
    )
    .action(async (pictures: string[], flags: CompareFlags) => {
      const { compareFiles } = await import('../compare.js')
      await compareFiles(pictures, flags)
    })
}
