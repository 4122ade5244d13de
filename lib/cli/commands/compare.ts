// wbsr compare: its options and help. What it does is in lib/cli/compare.ts.
import type { Command } from 'commander'
import type { CompareFlags } from '../flags.js'
import { deviceFlags, routingFlags } from '../model.js'

export function compareCommand(program: Command): void {
  deviceFlags(
    routingFlags(
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
        .option('--title <text>', 'heading of the page'),
    )
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
