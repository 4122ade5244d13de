// wbsr upscale: its options and help. What it does is in lib/cli/upscale.
import { type Command, Option } from 'commander'
import { MAX_FACTOR } from '../../stream/target.js'
import type { UpscaleFlags } from '../flags.js'
import { deviceFlags, routingFlags } from '../model.js'
import { format, integer, number, size, tileSide } from '../values.js'

export function upscaleCommand(program: Command): void {
  deviceFlags(
    routingFlags(
      program
        .command('upscale')
        .summary('enlarge pictures: files, folders, patterns, standard input')
        .description(
          'Enlarges pictures. A folder is searched with all its subfolders (png, jpg, jpeg, webp, tif, tiff, avif) and its ' +
            'tree is kept below --out. A picture that cannot be read is reported and the others go on. A result appears ' +
            'whole or not at all. Each part of a picture runs on as large a part of the network (a subnet) as it needs.',
        )
        .argument('<input...>', 'files, folders, patterns in quotes, or - for standard input')
        .option(
          '-m, --model <file>',
          "a model of wbsr, or .pth, .safetensors, .onnx, .param of another tool; or wbsr:NAME of the package, which 'wbsr models' lists (default: of these the one that suits the picture)",
        )
        .option(
          '-o, --out <path>',
          'a file, a folder, or - for standard output (default: NAME-x2 beside a single file)',
        )
        .addOption(
          new Option('-s, --scale <factor>', `any factor from 1 to ${MAX_FACTOR} (default: the model's)`)
            .argParser(number(1, MAX_FACTOR))
            .conflicts('size'),
        )
        .option('--size <WxH>', 'size of the result in pixels: 1920x1080; 1920x and x1080 keep the shape', size)
        .addOption(
          // Choices are what is completed; the parser, which is set after them, also takes jpg and tif.
          new Option(
            '-f, --format <name>',
            "of the results (default: that of --out's name or of the input; png on standard output)",
          )
            .choices(['png', 'jpeg', 'webp', 'tiff', 'avif'])
            .argParser(format),
        )
        .option('-q, --quality <1..100>', 'of JPEG, WebP and AVIF (default: 95)', integer(1, 100))
        .option('--compression <0..9>', 'of PNG (default: 6)', integer(0, 9))
        .option('--tile-size <pixels>', 'of TIFF: tiles of that side, a multiple of 16, instead of strips', tileSide)
        .option('--bigtiff', 'TIFF with offsets of 64 bits (default: where the pixels take more than 4 GB)')
        .addOption(
          new Option('--metadata <what>', 'colour profile, EXIF, XMP and resolution')
            .choices(['keep', 'strip'])
            .default('keep'),
        ),
    )
      .addOption(
        new Option('--alpha <use>', 'what an alpha channel is (default: auto)').choices(['auto', 'opacity', 'data']),
      )
      .option('--wrap', 'the picture is a texture that repeats')
      .option('--page <number>', 'of a TIFF, GIF or WebP, from 0', integer(0, 1_000_000))
      .option('--map', 'also write NAME-map.png: which subnet ran where')
      .option('--memory <MB>', 'pixels of a result above which it is made in bands (default: 256)', number(0, 1e6))
      .option('--skip-existing', 'leave out pictures whose result is there already')
      .option('--json', 'one JSON object per picture on standard output')
      .option('--quiet', 'errors only'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr upscale photo.jpg                                   photo-x2.jpg beside it
  wbsr upscale photos/ -o large/ --scale 4                 a folder with its tree
  wbsr upscale 'scans/**/*.tif' -m x4.pth -o out/ --skip-existing
  wbsr upscale photo.png -m x2.safetensors --size 3840x -o wide.webp -q 90
  wbsr upscale photo.png --budget 0.4 --map -o out.png
  curl -s URL | wbsr upscale - -f jpeg > out.jpg`,
    )
    .action(async (inputs: string[], flags: UpscaleFlags) => {
      const { upscaleAll } = await import('../upscale/run.js')
      await upscaleAll(inputs, flags)
    })
}
